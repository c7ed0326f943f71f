"""The base currency as the panel shows it, from rows in Xero's form: mistakes in a document must not decide it."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import text

from app.billing.alerts import AlertPolicy
from app.billing.maintenance import refresh_derived
from app.billing.mirror.absence import ResourceScope, mark_deleted
from app.billing.records import Batch, Resource
from app.billing.store import upsert
from app.xero import mapping, wire
from tests.support import xero_samples
from tests.support.paths import ROOT

REPORT = json.loads((ROOT / "tests/inputs/02-base-currency.json").read_text())
FIRST = REPORT["step 1"]["Invoices"][0]
UNPAID: dict[str, Any] = {"Status": "AUTHORISED", "AmountPaid": 0.00, "FullyPaidOnDate": None}


class Books:
    """The invoices of one organisation, written as the pull writes Xero's rows; each call is one page."""

    def __init__(self, db, api):
        self.db = db
        self.api = api
        self.minute = 0

    async def write(self, *rows, start=0, times=1):
        """Write the rows, repeated so many times, with ids that count from `start`; the last call's version wins."""
        self.minute += 1
        instant = datetime(2026, 11, 1, 8, self.minute, tzinfo=UTC)
        stamp = {"UpdatedDateUTC": f"/Date({int(instant.timestamp() * 1000)}+0000)/"}
        invoices = [
            to_record(
                xero_samples.invoice(
                    **{**UNPAID, "AmountDue": row["Total"], **row, **stamp}, InvoiceID=str(UUID(int=at))
                )
            )
            for at, row in enumerate(rows * times, start)
        ]
        async with self.db.transaction() as session:
            await upsert(session, "xero", "org-1", Batch(invoices=invoices), instant)

    async def refresh(self):
        async with self.db.transaction() as session:
            await refresh_derived(session, datetime(2026, 11, 1, 9, tzinfo=UTC), AlertPolicy())

    async def panel(self):
        [customer] = await self.api.items("/api/customers")
        return (await self.api.get(f"/api/customers/{customer['id']}/billing")).json()

    async def base(self):
        panel = await self.panel()
        return panel["base"] and panel["base"]["currency"], panel["base_unavailable_reason"]


def to_record(row):
    return mapping.invoice_record(msgspec.json.decode(json.dumps(row), type=wire.Invoice))


def bill(currency, rate: float | None = 1.0, **more):
    return {"CurrencyCode": currency, "CurrencyRate": rate, "Total": 100.00, **more}


@pytest.fixture
def books(db, api):
    return Books(db, api)


UNKNOWN = (None, "base_currency_unknown")


async def test_a_foreign_first_invoice_at_rate_one_loses_to_the_fifty_that_follow(books):
    await books.write(FIRST)
    alone = await books.base()
    await books.write(bill("NZD"), start=1, times=50)
    followed = await books.base()
    await books.write({**FIRST, "Status": "VOIDED", "AmountDue": 0.00})

    assert (alone, followed, await books.base()) == (("USD", None), ("NZD", None), ("NZD", None))
    assert (await books.panel())["base"]["outstanding"] == "5000.00"


async def test_two_currencies_that_both_have_documents_at_rate_one_are_an_open_question(books):
    await books.write(*[bill("NZD")] * 3, *[bill("USD")] * 5)

    assert await books.base() == UNKNOWN


@pytest.mark.parametrize(("status", "due"), [("DRAFT", 100.0), ("SUBMITTED", 100.0), ("VOIDED", 0.0), ("PAID", 0.0)])
async def test_only_a_live_document_supports_its_currency(books, status, due):
    await books.write(bill("EUR", None, Status=status, AmountDue=due, AmountPaid=100.0 if status == "PAID" else 0.0))
    await books.write(bill("AUD", 0.9), start=1)

    assert await books.base() == (("EUR", None) if status == "PAID" else UNKNOWN)


@pytest.mark.parametrize("status", ["DRAFT", "VOIDED"])
async def test_only_a_live_document_rules_its_currency_out(books, status):
    await books.write(bill("NZD"), bill("NZD", 1.6, Status=status, AmountDue=0.0))

    assert await books.base() == ("NZD", None)


async def test_a_known_base_falls_with_the_first_live_document_that_rules_it_out(books):
    await books.write(bill("NZD"), times=20)
    before = await books.base()
    # Another one of the same page is as the base lets expect.
    await books.write(bill("NZD"), bill("NZD", 1.6), bill("NZD"), start=20)

    assert (before, await books.base()) == (("NZD", None), UNKNOWN)


async def test_a_rate_of_zero_counts_as_none(books):
    await books.write(bill("NZD"), bill("NZD", 0.0))
    async with books.db.transaction() as session:
        await session.execute(text("UPDATE billing_invoices SET exchange_rate = 0"))
    await books.refresh()

    assert await books.base() == ("NZD", None)


async def test_voiding_what_made_the_base_doubtful_makes_it_known_again(books):
    await books.write(bill("NZD"), bill("USD"))
    doubtful = await books.base()
    await books.write(bill("USD", Status="VOIDED", AmountDue=0.0), start=1)

    assert (doubtful, await books.base()) == (UNKNOWN, ("NZD", None))


async def test_voiding_a_document_of_the_known_base_is_noticed(books):
    await books.write(*[bill("NZD")] * 9, bill("USD"))
    clear = await books.base()
    await books.write(bill("NZD", Status="VOIDED", AmountDue=0.0))

    assert (clear, await books.base()) == (("NZD", None), UNKNOWN)


async def test_a_document_that_is_missing_at_the_vendor_says_nothing_after_the_run(books):
    await books.write(bill("NZD"), bill("USD"))
    async with books.db.transaction() as session:
        scope = ResourceScope("xero", "org-1", Resource.INVOICES)
        await mark_deleted(session, scope, [str(UUID(int=1))])
    await books.refresh()

    assert await books.base() == ("NZD", None)


async def test_a_currency_that_a_correction_no_longer_rules_out_is_noticed_after_the_run(books):
    await books.write(bill("NZD"), bill("USD", 0.6), bill("USD", None, Status="PAID", AmountDue=0.0))
    before = await books.base()
    await books.write(bill("NZD"), start=1)
    await books.refresh()

    assert (before, await books.base()) == (("NZD", None), UNKNOWN)
