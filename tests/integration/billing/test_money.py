"""The money identities, over random histories told in any order: what is paid and credited is what the rows say."""

import itertools
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import Ledger, allocation, contact, invoice, memo, payment

INVOICES, MEMOS = range(4), range(2)
CENTS = st.integers(1, 20_000).map(lambda cents: Decimal(cents) / 100)
DEEDS = st.one_of(
    st.tuples(st.just("pay"), st.sampled_from(INVOICES), CENTS),
    st.tuples(st.just("delete_payment"), st.integers(0, 9), st.none()),
    st.tuples(st.just("overpay"), st.sampled_from(INVOICES), CENTS),
    st.tuples(st.just("allocate"), st.tuples(st.sampled_from(MEMOS), st.sampled_from(INVOICES)), CENTS),
    st.tuples(st.just("free"), st.sampled_from(MEMOS), st.none()),
    st.tuples(st.just("reprice"), st.sampled_from(INVOICES), CENTS),
)
TENANTS = itertools.count()


class Books:
    """A small vendor: every deed changes the books and tells anew of each document it touches."""

    def __init__(self):
        self.minute = 0
        self.totals = dict.fromkeys(INVOICES, Decimal("150.00"))
        self.credits = dict.fromkeys(MEMOS, Decimal("80.00"))
        self.payments: list[dict[str, Any]] = []
        self.allocations: list[tuple[int, int, Decimal]] = []
        self.overpaid: list[tuple[int, Decimal]] = []
        self.told: list[Any] = []
        for number in INVOICES:
            self.tell_invoice(number)
        for number in MEMOS:
            self.tell_memo(number)

    def settled(self, number):
        paid = sum((one["amount"] for one in self.payments if one["to"] == number and one["is_active"]), Decimal(0))
        credited = sum((amount for _, to, amount in self.allocations if to == number), Decimal(0))
        return paid, credited + sum((amount for to, amount in self.overpaid if to == number), Decimal(0))

    def room(self, number):
        return self.totals[number] - sum(self.settled(number))

    def free_credit(self, number):
        return self.credits[number] - sum(amount for credit, _, amount in self.allocations if credit == number)

    def do(self, deed, what, amount):
        self.minute += 1
        getattr(self, deed)(what, amount)

    def pay(self, number, amount):
        if amount <= self.room(number):
            self.payments.append({"to": number, "amount": amount, "is_active": True, "id": f"p{self.minute}"})
            self.tell_payment(self.payments[-1])
            self.tell_invoice(number)

    def delete_payment(self, at, _):
        if at < len(self.payments) and self.payments[at]["is_active"]:
            self.payments[at]["is_active"] = False
            self.tell_payment(self.payments[at])
            self.tell_invoice(self.payments[at]["to"])

    def overpay(self, number, amount):
        if amount <= self.room(number):
            self.overpaid.append((number, amount))
            self.tell_invoice(number)

    def allocate(self, way, amount):
        credit, number = way
        if amount <= min(self.room(number), self.free_credit(credit)):
            self.allocations.append((credit, number, amount))
            self.tell_memo(credit)
            self.tell_invoice(number)

    def free(self, credit, _):
        touched = {number for of, number, _ in self.allocations if of == credit}
        self.allocations = [part for part in self.allocations if part[0] != credit]
        self.tell_memo(credit)
        for number in touched:
            self.tell_invoice(number)

    def reprice(self, number, amount):
        if amount >= sum(self.settled(number)):
            self.totals[number] = amount
            self.tell_invoice(number)

    def tell_invoice(self, number):
        paid, credited = self.settled(number)
        overpaid = [(at, amount) for at, (to, amount) in enumerate(self.overpaid) if to == number]
        parts = tuple(allocation(f"o{at}", f"i{number}", amount, "overpayment") for at, amount in overpaid)
        money = {"total": self.totals[number], "paid": paid, "credited": credited}
        self.told.append(invoice(f"i{number}", self.minute, **money, applied_credits=parts))

    def tell_memo(self, number):
        parts = [(f"i{to}", amount) for credit, to, amount in self.allocations if credit == number]
        self.told.append(memo(f"m{number}", self.minute, total=self.credits[number], parts=parts))

    def tell_payment(self, one):
        status = "active" if one["is_active"] else "deleted"
        facts = {"of": contact(), "to": f"i{one['to']}", "amount": one["amount"], "status": status}
        self.told.append(payment(one["id"], self.minute, **facts))


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=st.lists(DEEDS, max_size=25), order=st.randoms(use_true_random=False), size=st.integers(1, 12))
async def test_every_invoice_is_paid_and_credited_by_the_rows_that_say_so(db, deeds, order, size):
    books = Books()
    for deed in deeds:
        books.do(*deed)
    ledger = Ledger(db, tenant_id=f"t{next(TENANTS)}")
    told = books.told + order.sample(books.told, len(books.told) // 2)
    order.shuffle(told)
    # A deletion that is first news leaves no row, so an older version may come after it; the next read says it again.
    told += [record for record in books.told if record.status == "deleted"]
    for at in range(0, len(told), size):
        await ledger.write(*told[at : at + size], read=9999)

    assert await figures(ledger) == {
        f"i{number}": (books.totals[number], books.room(number), *books.settled(number)) for number in INVOICES
    }
    assert await remaining(ledger) == {f"m{number}": (books.free_credit(number),) * 2 for number in MEMOS}
    for total, balance, paid, credited in (await figures(ledger)).values():
        assert total == balance + paid + credited


async def figures(ledger):
    """Each invoice's total and balance as its row says, and what its payments and allocations come to."""
    own = f"source_tenant_id = '{ledger.tenant_id}'"
    bills = await ledger.rows("billing_invoices", own)
    payments = await ledger.rows("billing_payments", f"{own} AND status = 'active'")
    parts = await ledger.rows("billing_credit_allocations", own)
    return {
        bill["external_id"]: (
            bill["total"],
            bill["balance"],
            sum((row["amount"] for row in payments if row["invoice_id"] == bill["id"]), Decimal(0)),
            sum((row["amount"] for row in parts if row["invoice_id"] == bill["id"]), Decimal(0)),
        )
        for bill in bills
    }


async def remaining(ledger):
    """What each memo says is left of it, and what its allocations leave."""
    own = f"source_tenant_id = '{ledger.tenant_id}'"
    parts = await ledger.rows("billing_credit_allocations", f"{own} AND kind = 'credit_memo'")
    return {
        row["external_id"]: (
            row["remaining"],
            row["total"] - sum(part["amount"] for part in parts if part["credit_memo_id"] == row["id"]),
        )
        for row in await ledger.rows("billing_credit_memos", own)
    }
