"""The age of figures: rows of an organisation that is no longer synced count, and are said to be as old as they are."""

import json
from decimal import Decimal

import pytest

from tests.support.paths import ROOT
from tests.support.service import INTEGRATION, open_harness

REPORT = json.loads((ROOT / "tests/inputs/03-unticked-organisation.json").read_text())
CUSTOMER = "Shared Customer"
EMPTY_BOOKS = {"organisations": 2, "contacts": 0, "invoices": 0, "payments": 0, "credit_notes": 0}


@pytest.fixture
async def harness(dsn):
    """Two organisations, both picked and synced, that have invoiced one customer of the PSA: 100.00 and 900.00."""
    async with open_harness(dsn, options=EMPTY_BOOKS) as harness:
        harness.tenant_ids = await harness.connect()
        harness.invoices = []
        for tenant_id, total in zip(harness.tenant_ids, ("100.00", "900.00"), strict=True):
            contact = await create(harness, tenant_id, "create_contact", name=CUSTOMER)
            harness.invoices.append(await bill(harness, tenant_id, contact, total))
        customer = {"external_id": "p1", "name": CUSTOMER}
        sent = await harness.call("PUT", "/api/psa/customers", json={"items": [customer]})
        assert sent.status_code == 200, sent.text
        await harness.select_tenants(*harness.tenant_ids)
        await harness.run_until_idle()
        yield harness


async def create(harness, tenant_id, edit, **facts):
    [change, *_] = (await harness.edit_books(tenant_id, edit=edit, **facts))["changes"]
    return change["id"]


async def bill(harness, tenant_id, contact_id, total):
    due = {"issued_on": "2026-01-01", "due_on": "2026-01-20"}
    return await create(harness, tenant_id, "create_invoice", contact_id=contact_id, total=total, **due)


async def panel(harness):
    [customer] = (await harness.read("/api/customers"))["items"]
    return await harness.read(f"/api/customers/{customer['id']}/billing")


async def alerts_by_tenant(harness):
    tenants = {row["id"]: row["tenant_id"] for row in (await harness.read("/api/invoices"))["items"]}
    return {tenants[alert["subject"]["id"]]: alert for alert in (await harness.read("/api/alerts"))["items"]}


def outstanding(panel):
    return sum(Decimal(figures["outstanding"]) for figures in panel["currencies"])


async def test_an_organisation_that_is_no_longer_picked_counts_and_makes_the_figures_as_old_as_its_own(harness):
    kept, left = harness.tenant_ids
    before = {each["tenant_id"]: each for each in (await panel(harness))["source_details"]}
    await harness.select_tenants(kept)
    await harness.edit_books(left, edit="pay", invoice_id=harness.invoices[1])
    await harness.sync()
    await harness.sync()
    after = await panel(harness)
    details = {each["tenant_id"]: each for each in after["source_details"]}

    assert "outstanding 1000.00" in REPORT["got"]
    assert outstanding(after) == Decimal("1000.00")
    assert after["data_as_of"] == details[left]["data_as_of"] == before[left]["data_as_of"]
    assert details[kept]["data_as_of"] > before[kept]["data_as_of"]
    assert [(details[each]["is_synced"], before[each]["is_synced"]) for each in harness.tenant_ids] == [
        (True, True),
        (False, True),
    ]
    assert details[left] == {**before[left], "is_synced": False}


async def test_an_alert_of_an_organisation_that_is_no_longer_picked_stays_open_and_says_how_old_it_is(harness):
    kept, left = harness.tenant_ids
    await harness.select_tenants(kept)
    await harness.sync()
    alerts = await alerts_by_tenant(harness)
    as_of = (await panel(harness))["data_as_of"]

    assert [alerts[each]["status"] for each in harness.tenant_ids] == ["open", "open"]
    assert alerts[left]["detail"].endswith(f"; figures as of {as_of[:16].replace('T', ' ')} UTC")
    assert "figures as of" not in alerts[kept]["detail"]

    await harness.select_tenants(kept, left)
    await harness.run_until_idle()
    assert "figures as of" not in (await alerts_by_tenant(harness))[left]["detail"]


@pytest.mark.parametrize("leave", ["disconnect", "remove"])
async def test_a_disconnected_or_removed_organisation_is_not_synced_and_opens_no_alert(harness, leave):
    _, left = harness.tenant_ids
    await harness.execute("DELETE FROM billing_alerts")
    if leave == "disconnect":
        await harness.call("POST", f"{INTEGRATION}/disconnect")
    else:
        await harness.execute("UPDATE tenants SET removed_at = now() WHERE tenant_id = :left", left=left)
    await harness.engine.maintenance.refresh_derived()
    details = {each["tenant_id"]: each["is_synced"] for each in (await panel(harness))["source_details"]}

    assert details == dict.fromkeys(harness.tenant_ids, False) | (
        {} if leave == "disconnect" else {harness.tenant_ids[0]: True}
    )
    assert (await alerts_by_tenant(harness)).keys() == {tenant for tenant, is_synced in details.items() if is_synced}
