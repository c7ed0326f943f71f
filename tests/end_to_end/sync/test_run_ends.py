"""The end of a run: whoever hears of it finds everything that follows from its rows done, and nothing holds it up."""

import pytest

REMEMBER_ALERTS = (
    "CREATE TABLE alerts_at_end (found bigint)",
    """
    CREATE FUNCTION remember_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO alerts_at_end SELECT count(*) FROM billing_alerts WHERE resolved_at IS NULL;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER remember_alerts AFTER UPDATE ON sync_runs
      FOR EACH ROW WHEN (OLD.status = 'running' AND NEW.status <> 'running') EXECUTE FUNCTION remember_alerts()
    """,
)


@pytest.mark.parametrize("organisations", [1, 3])
async def test_alerts_are_there_before_the_run_that_caused_them_is_over(harness, organisations):
    for statement in REMEMBER_ALERTS:
        await harness.execute(statement)
    await harness.connect_and_sync(organisations)
    [open_now] = await harness.query("SELECT count(*) AS n FROM billing_alerts WHERE resolved_at IS NULL")
    [at_end] = await harness.query("SELECT found FROM alerts_at_end")
    assert 0 < at_end["found"] == open_now["n"]


async def test_a_defect_beside_the_rows_does_not_hold_the_run_up(harness):
    await harness.execute("ALTER TABLE billing_alerts RENAME COLUMN resolved_at TO mislaid")
    [tenant_id] = await harness.connect_and_sync()
    [run] = (await harness.read("/api/integrations/xero/runs"))["items"]
    assert run["status"] == "succeeded"
    assert len([call for call in await harness.xero_calls() if call["tenant_id"] == tenant_id]) == 4
