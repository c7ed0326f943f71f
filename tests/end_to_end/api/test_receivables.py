"""Who owes what since when: the customers' list, months, aging, and the invoices' list, against the vendor's books."""

import csv
import io
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest

TODAY = datetime.now(UTC).date()


@pytest.fixture
async def books(harness):
    """The sales invoices of the one organisation that was synced, as the vendor has them."""
    [tenant_id] = await harness.connect_and_sync()
    rows = await harness.xero_rows(tenant_id, "Invoices")
    return [row for row in rows if row["type"] == "ACCREC" and row["status"] in {"AUTHORISED", "PAID"}]


def days_overdue(row):
    """Return for how many days an invoice of the books has been overdue; 0 when it is not."""
    is_open = row["status"] == "AUTHORISED" and Decimal(row["amount_due"]) > 0
    return max((TODAY - datetime.fromisoformat(row["due_on"]).date()).days, 0) if is_open else 0


def owed(rows):
    return {currency: amount for currency, amount in sums(rows, "amount_due").items() if amount}


def sums(rows, name):
    found = defaultdict(Decimal)
    for row in rows:
        found[row["currency"]] += Decimal(row[name])
    return found


def amounts(items):
    return {item["currency"]: Decimal(item["amount"]) for item in items}


async def read_all(harness, path, **filters):
    """Read every page of a list, two rows at a time."""
    found, cursor = [], {}
    while True:
        page = await harness.read(path, limit=2, **filters, **cursor)
        found += page["items"]
        if not page["next_cursor"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_customers_are_listed_with_what_they_owe_in_every_order(harness, books):
    by_contact = defaultdict(list)
    for row in books:
        by_contact[row["contact_id"]].append(row)
    customers = await read_all(harness, "/api/customers")
    assert [one["name"].lower() for one in customers] == sorted(one["name"].lower() for one in customers)
    for one in customers:
        rows = by_contact[one["links"][0]["external_id"]]
        overdue = [row for row in rows if days_overdue(row)]
        assert amounts(one["outstanding"]) == owed(row for row in rows if row["status"] == "AUTHORISED")
        assert amounts(one["overdue"]) == owed(overdue)
        assert one["overdue_count"] == len(overdue)
        assert one["oldest_overdue_days"] == (max(map(days_overdue, overdue)) if overdue else None)
        assert one == await harness.read(f"/api/customers/{one['id']}")
        panel = await harness.read(f"/api/customers/{one['id']}/billing")
        assert {name: panel[name] for name in ("oldest_overdue_days", "open_alerts")} == {
            name: one[name] for name in ("oldest_overdue_days", "open_alerts")
        }
    alerts = await read_all(harness, "/api/alerts", status="open")
    shown = {
        (one["id"], severity): count for one in customers for severity, count in one["open_alerts"].items() if count
    }
    assert shown == Counter((alert["customer_id"], alert["severity"]) for alert in alerts)

    ids = {one["id"] for one in customers}
    for sort in ("-outstanding", "-overdue", "-oldest_overdue"):
        ranked = await read_all(harness, "/api/customers", sort=sort)
        assert {one["id"] for one in ranked} == ids
        ranks = [rank(one, sort) for one in ranked if len(one["outstanding"]) < 2]
        assert ranks == sorted(ranks, reverse=True)
        assert ranks[0] > ranks[-1]
    late = await read_all(harness, "/api/customers", overdue="true")
    assert {one["id"] for one in late} == {one["id"] for one in customers if one["overdue_count"]}
    punctual = await read_all(harness, "/api/customers", overdue="false")
    assert {one["id"] for one in punctual} == ids - {one["id"] for one in late}


def rank(customer, sort):
    """Return what a customer of one currency is ordered by."""
    if sort == "-oldest_overdue":
        return customer["oldest_overdue_days"] or 0
    return sum(amounts(customer[sort.removeprefix("-")]).values())


async def test_the_sums_are_ordered_in_base_currency_where_it_is_known(harness, books):
    """1,000 yen are less than 100 dollars."""
    base = books[0]["currency"]
    ids = {}
    for name, currency, balance, rate in (("Yen", "JPY", 1000, 95), ("Dollar", base, 100, 1)):
        await harness.execute("INSERT INTO customers (name) VALUES (:name)", name=f"Only {name}")
        [one] = (await harness.read("/api/customers", search=f"Only {name}"))["items"]
        ids[name] = one["id"]
        await harness.execute(
            "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency,"
            " exchange_rate, total, balance) VALUES ('sage', 't', :name, CAST(:id AS uuid), 'open', :currency, :rate,"
            " :balance, :balance)",
            name=name,
            id=one["id"],
            currency=currency,
            balance=balance,
            rate=rate,
        )

    async def order():
        ranked = await read_all(harness, "/api/customers", sort="-outstanding", search="Only")
        return [one["id"] for one in ranked]

    assert await order() == [ids["Yen"], ids["Dollar"]]
    await harness.execute(
        "INSERT INTO billing_organisations (source, source_tenant_id, base_currency) VALUES ('sage', 't', :base)",
        base=base,
    )
    assert await order() == [ids["Dollar"], ids["Yen"]]


async def test_open_balances_are_aged_by_days_past_due(harness, books):
    spans = {"current": (0, 0), "days_1_30": (1, 30), "days_31_60": (31, 60), "days_61_90": (61, 90)}
    spans["days_over_90"] = (91, 10**6)
    open_rows = [row for row in books if row["status"] == "AUTHORISED"]
    found = await harness.read("/api/billing/aging")
    assert found["as_of_on"] == str(TODAY)
    shown = {one["currency"]: one for one in found["currencies"]}
    assert {currency: Decimal(one["total"]) for currency, one in shown.items()} == owed(open_rows)
    for name, (first, last) in spans.items():
        expected = owed(row for row in open_rows if first <= days_overdue(row) <= last)
        assert {currency: Decimal(one[name]) for currency, one in shown.items() if Decimal(one[name])} == expected
    everybody = defaultdict(Decimal)
    for customer in (await harness.read("/api/customers", limit=200))["items"]:
        own = await harness.read(f"/api/customers/{customer['id']}/billing/aging")
        for one in own["currencies"]:
            everybody[one["currency"]] += Decimal(one["total"])
    assert everybody == owed(open_rows)


async def test_months_are_all_there_and_add_up_to_the_books(harness, books):
    customers = (await harness.read("/api/customers", limit=200))["items"]
    first = f"{TODAY.year - 3:04}-{TODAY.month:02}"
    totals = defaultdict(Decimal)
    for customer in customers:
        found = await harness.read(f"/api/customers/{customer['id']}/billing/months", months=36)
        for currency in found["currencies"]:
            months = [month["month"] for month in currency["months"]]
            assert (len(months), months[-1], months) == (36, f"{TODAY:%Y-%m}", sorted(set(months)))
            totals[currency["currency"]] += sum(Decimal(month["invoiced"]) for month in currency["months"])
    assert totals == sums([row for row in books if row["issued_on"][:7] > first], "total")

    customer = customers[0]["id"]
    await harness.execute(
        "UPDATE billing_payments SET paid_on = current_date, amount = 7, customer_id = CAST(:id AS uuid)"
        " WHERE status = 'active'",
        id=customer,
    )
    await harness.execute(
        "UPDATE billing_credit_memos SET issued_on = current_date, total = 11, status = 'open',"
        " customer_id = CAST(:id AS uuid)",
        id=customer,
    )
    payments = await harness.query(
        "SELECT currency, count(*) AS n FROM billing_payments WHERE status = 'active' GROUP BY 1"
    )
    memos = await harness.query("SELECT currency, count(*) AS n FROM billing_credit_memos GROUP BY 1")
    assert payments
    assert memos
    found = await harness.read(f"/api/customers/{customer}/billing/months", months=1)
    shown = {one["currency"]: one["months"] for one in found["currencies"]}
    for rows, name, each in ((payments, "paid", 7), (memos, "credited", 11)):
        for row in rows:
            [month] = shown[row["currency"]]
            assert Decimal(month[name]) == each * row["n"]
    assert (await harness.read(f"/api/customers/{customer}/billing/months"))["currencies"][0]["months"][11]


@pytest.mark.usefixtures("books")
async def test_invoices_are_filtered_and_ordered_as_a_bookkeeper_asks(harness):
    everything = await read_all(harness, "/api/invoices", status="open")
    by_due = await read_all(harness, "/api/invoices", status="open", sort="due_on")
    assert [one["due_on"] for one in by_due] == sorted(one["due_on"] for one in everything)
    by_balance = await read_all(harness, "/api/invoices", status="open", sort="-balance")
    balances = [Decimal(one["balance"]) for one in by_balance]
    assert balances == sorted((Decimal(one["balance"]) for one in everything), reverse=True)
    first, last = by_due[2]["due_on"], by_due[-3]["due_on"]
    between = await read_all(harness, "/api/invoices", status="open", due_from=first, due_to=last)
    assert {one["id"] for one in between} == {one["id"] for one in everything if first <= one["due_on"] <= last}
    large = await read_all(harness, "/api/invoices", status="open", min_balance=str(balances[3]))
    assert {one["id"] for one in large} == {one["id"] for one in by_balance if Decimal(one["balance"]) >= balances[3]}
    for wrong in ({"sort": "total"}, {"min_balance": "-1"}, {"min_balance": "NaN"}):
        assert (await harness.call("GET", "/api/invoices", params=wrong)).status_code == 422


@pytest.mark.usefixtures("books")
async def test_invoices_come_as_csv_whose_texts_are_no_formulas(harness):
    await harness.execute("UPDATE billing_invoices SET reference = '=cmd|x', balance = -5 WHERE status = 'open'")
    shown = await read_all(harness, "/api/invoices", status="open", sort="due_on")
    answer = await harness.call("GET", "/api/invoices?status=open&sort=due_on", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["id"] for row in rows] == [one["id"] for one in shown]
    assert set(rows[0]) == set(shown[0])
    assert {(row["reference"], row["balance"]) for row in rows} == {("'=cmd|x", "-5.00")}
    both = await harness.call("GET", "/api/invoices", headers={"Accept": "application/json, text/csv"})
    assert both.headers["content-type"] == "application/json"


@pytest.mark.usefixtures("books")
async def test_alerts_are_counted_and_filtered_by_severity(harness):
    alerts = await read_all(harness, "/api/alerts", status="open")
    counted = Counter(alert["severity"] for alert in alerts)
    assert len(alerts) > 2
    found = await harness.read("/api/alerts/counts")
    assert {severity: count for severity, count in found["open"].items() if count} == counted
    await harness.call("POST", f"/api/alerts/{alerts[0]['id']}/acknowledge")
    await harness.call("POST", f"/api/alerts/{alerts[1]['id']}/mute", json={"hours": 3})
    after = await harness.read("/api/alerts/counts")
    assert (sum(after["open"].values()), after["acknowledged"], after["muted"]) == (len(alerts) - 2, 1, 1)
    severity = alerts[2]["severity"]
    filtered = await read_all(harness, "/api/alerts", severity=severity, status="open")
    assert {one["severity"] for one in filtered} == {severity}
    assert len(filtered) == after["open"][severity]
