"""The end of a run: what is derived from its rows must be there by then, and a defect in it must not prevent it."""

import pytest

RECORD_ALERTS = (
    "CREATE TABLE alerts_at_end (found bigint)",
    """
    CREATE FUNCTION record_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO alerts_at_end SELECT count(*) FROM billing_alerts WHERE resolved_at IS NULL;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER record_alerts AFTER UPDATE ON sync_runs
      FOR EACH ROW WHEN (OLD.status = 'running' AND NEW.status <> 'running') EXECUTE FUNCTION record_alerts()
    """,
)


@pytest.mark.parametrize("organisations", [1, 3])
async def test_the_alerts_of_a_run_are_there_before_it_ends(harness, organisations):
    for statement in RECORD_ALERTS:
        await harness.execute(statement)
    await harness.connect_and_sync(organisations)
    [open_now] = await harness.query("SELECT count(*) AS n FROM billing_alerts WHERE resolved_at IS NULL")
    [at_end] = await harness.query("SELECT found FROM alerts_at_end")
    assert 0 < at_end["found"] == open_now["n"]


async def test_a_defect_in_the_alerts_does_not_keep_a_run_from_ending(harness):
    await harness.execute("ALTER TABLE billing_alerts RENAME COLUMN resolved_at TO mislaid")
    [tenant_id] = await harness.connect_and_sync()
    [run] = (await harness.read("/api/integrations/xero/runs"))["items"]
    assert run["status"] == "succeeded"
    assert len([call for call in await harness.xero_calls() if call["tenant_id"] == tenant_id]) == 4
