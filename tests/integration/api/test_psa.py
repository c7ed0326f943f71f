"""The PSA's feed over HTTP: bulk upserts that can be repeated and are written completely or not at all."""

import pytest

ACME: dict[str, object] = {"external_id": "a", "name": "Acme Ltd", "email": "it@acme.test"}
CARE: dict[str, object] = {
    "external_id": "s",
    "customer_external_id": "a",
    "name": "Care",
    "monthly_amount": "450.125",
    "currency": "NZD",
    "starts_on": "2026-01-01",
}
TICKET: dict[str, object] = {
    "external_id": "t",
    "customer_external_id": "a",
    "at": "2026-11-15T08:34:00+13:00",
    "kind": "ticket",
    "title": "Ticket #4821 reply received",
}


async def send(api, kind, *items, role="service"):
    return await api.put(f"/api/psa/{kind}", {"items": list(items)}, role=role)


async def test_customers_services_and_events_are_stored_and_can_be_sent_again(api):
    steps: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("customers", ACME, {"name": "Acme Limited"}),
        ("services", CARE, {"monthly_amount": 500}),
        ("timeline-events", TICKET, {"detail": "from sarah"}),
    ]
    for kind, item, change in steps:
        counts = [(await send(api, kind, each)).json() for each in (item, item, {**item, **change})]
        assert counts == [
            {"created": 1, "updated": 0, "unchanged": 0},
            {"created": 0, "updated": 0, "unchanged": 1},
            {"created": 0, "updated": 1, "unchanged": 0},
        ]
    customer = (await api.items("/api/customers"))[0]
    assert (customer["name"], customer["psa_external_id"], customer["links"]) == ("Acme Limited", "a", [])
    figures = (await api.get(f"/api/customers/{customer['id']}/billing")).json()["currencies"]
    assert [(each["currency"], each["contracted_mrr"]) for each in figures] == [("NZD", "500.00")]
    events = await api.items(f"/api/customers/{customer['id']}/timeline")
    assert [(each["at"], each["kind"], each["source"], each["detail"]) for each in events] == [
        ("2026-11-14T19:34:00Z", "ticket", "psa", "from sarah")
    ]


async def test_a_call_of_more_than_a_thousand_items_is_refused_whole(api):
    many = [{"external_id": str(number), "name": f"Customer {number} " + "x" * 400} for number in range(1001)]
    assert (await send(api, "customers", *many[:1000])).json()["created"] == 1000
    refused = await send(api, "customers", *many)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/items")
    assert (await api.read_all("/api/customers", limit=200))[-1]["psa_external_id"] != "1000"
    assert (await send(api, "customers")).json() == {"created": 0, "updated": 0, "unchanged": 0}


@pytest.mark.parametrize(("kind", "item"), [("services", CARE), ("timeline-events", TICKET)])
async def test_an_item_of_an_unknown_customer_refuses_the_whole_call(api, kind, item):
    await send(api, "customers", ACME)
    stranger = {**item, "external_id": "other", "customer_external_id": "nobody"}
    refused = await send(api, kind, item, stranger)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_customer")
    assert refused.json()["errors"][0]["pointer"] == "/items/1/customer_external_id"
    assert (await send(api, kind, item)).json()["created"] == 1


@pytest.mark.parametrize(
    ("kind", "item", "pointer"),
    [
        ("customers", {**ACME, "external_id": " "}, "/items/0/external_id"),
        ("customers", {**ACME, "name": ""}, "/items/0/name"),
        ("customers", {**ACME, "nmae": "x"}, "/items/0/nmae"),
        ("services", {**CARE, "monthly_amount": "1e1000000"}, "/items/0/monthly_amount"),
        ("services", {**CARE, "monthly_amount": "NaN"}, "/items/0/monthly_amount"),
        ("services", {**CARE, "monthly_amount": None}, "/items/0/monthly_amount"),
        ("services", {**CARE, "monthly_amount": 10**40}, "/items/0/monthly_amount"),
        ("services", {**CARE, "currency": "dollars"}, "/items/0/currency"),
        ("services", {**CARE, "starts_on": "2026-02-30"}, "/items/0/starts_on"),
        ("services", {**CARE, "ends_on": "2025-12-31"}, "/items/0"),
        ("timeline-events", {**TICKET, "at": "2026-11-15T08:34:00"}, "/items/0/at"),
        ("timeline-events", {**TICKET, "at": "0001-01-01T00:00:00+14:00"}, "/items/0/at"),
        ("timeline-events", {**TICKET, "kind": "invoice_paid"}, "/items/0/kind"),
        ("timeline-events", {**TICKET, "link": "javascript:alert(1)"}, "/items/0/link"),
    ],
)
async def test_an_invalid_item_is_named_by_its_pointer(api, kind, item, pointer):
    await send(api, "customers", ACME)
    refused = await send(api, kind, item)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed"), refused.text
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]


@pytest.mark.parametrize("kind", ["customers", "services", "timeline-events"])
async def test_only_the_psa_and_administrators_may_send_items(api, kind):
    statuses = {
        role: (await send(api, kind, role=role)).status_code for role in ("service", "admin", "analyst", "viewer")
    }
    assert statuses == {"service": 200, "admin": 200, "analyst": 403, "viewer": 403}
