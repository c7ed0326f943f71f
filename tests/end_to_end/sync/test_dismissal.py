"""Events that were given up can be dismissed with a reason, so that an alarm about them can be cleared."""

from tests.support.service import INTEGRATION

EVENTS = f"{INTEGRATION}/webhook-events"
ADD_EVENTS = """
INSERT INTO xero_webhook_events
  (tenant_id, resource_id, category, event_type, event_at, payload, resource, status, received_at, processed_at)
SELECT 't', n::text, 'INVOICE', 'UPDATE', now(), '{}', 'invoices', CASE WHEN n < 4 THEN 'dead' ELSE 'processed' END,
       now() - n * interval '1 day', now() FROM generate_series(1, 4) AS n
"""
NOBODY = "00000000-0000-4000-8000-000000000000"


async def count_by_status(harness):
    rows = await harness.query("SELECT status, count(*) AS n FROM xero_webhook_events GROUP BY status")
    return {row["status"]: row["n"] for row in rows}


async def failed(harness):
    """Return the failed events as the status, the gauge and the banners tell them."""
    harness.services.metrics.sync_metrics_read_at = float("-inf")
    lines = (await harness.client.get("/metrics")).text.splitlines()
    [gauge] = [line for line in lines if line.startswith('billing_webhook_events{source="xero",status="failed"}')]
    status = await harness.integration_status()
    is_told = "webhook_events_given_up" in [banner["code"] for banner in status["banners"]]
    return status["webhook"]["failed"], float(gauge.rpartition(" ")[2]), is_told


async def dismiss(harness, event_id, reason="Looked at it.", **options):
    return await harness.call("POST", f"{EVENTS}/{event_id}/dismiss", json={"reason": reason}, **options)


async def test_dismissed_events_no_longer_count_as_failed_and_can_be_replayed(harness):
    await harness.execute(ADD_EVENTS)
    assert await failed(harness) == (3, 3, True)
    listed = {event["resource_id"]: event["id"] for event in (await harness.read(EVENTS))["items"]}

    for role in ("viewer", "analyst", "service"):
        assert (await dismiss(harness, listed["1"], role=role)).status_code == 403
    for reason in ("", "  ", "x" * 501):
        assert (await dismiss(harness, listed["1"], reason)).status_code == 422
    for _ in range(2):
        dismissed = await dismiss(harness, listed["1"])
        assert (dismissed.status_code, dismissed.json()["status"]) == (200, "dismissed")
    assert (await dismiss(harness, NOBODY)).status_code == 404
    refused = await dismiss(harness, listed["4"])
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "processed" in refused.json()["detail"]
    assert await failed(harness) == (2, 2, True)

    # Event 2 came two days ago, event 3 three.
    before = await harness.query("SELECT now() - interval '60 hours' AS at")
    body = {"reason": "All the same.", "before": before[0]["at"].isoformat()}
    assert (await harness.call("POST", f"{EVENTS}/dismiss", json=body, role="analyst")).status_code == 403
    assert (await harness.call("POST", f"{EVENTS}/dismiss", json=body)).json() == {"dismissed": 1}
    assert await failed(harness) == (1, 1, True)
    rest = await harness.call("POST", f"{EVENTS}/dismiss", json={"reason": "And the rest."})
    assert rest.json() == {"dismissed": 1}
    assert await failed(harness) == (0, 0, False)
    assert len((await harness.read(EVENTS, status="dismissed"))["items"]) == 3

    entries = (await harness.read(f"{INTEGRATION}/audit-log"))["items"]
    told = [(one["actor"], one["action"], one["details"]["reason"]) for one in entries if "dismissed" in one["action"]]
    assert told == [
        ("tester", "webhook_events_dismissed", "And the rest."),
        ("tester", "webhook_events_dismissed", "All the same."),
        ("tester", "webhook_event_dismissed", "Looked at it."),
    ]
    assert [one["target"] for one in entries if one["action"] == "webhook_event_dismissed"] == [listed["1"]]

    again = {"ids": [listed["1"]], "reason": "It is there now."}
    assert (await harness.call("POST", f"{EVENTS}/replay", json=again)).json() == {"replayed": 1}
    assert await count_by_status(harness) == {"pending": 1, "dismissed": 2, "processed": 1}
