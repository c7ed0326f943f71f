"""The newest version of each record within one response."""

from itertools import permutations

import pytest

from app.billing.mirror.versions import newest_of_each
from app.billing.records import Batch
from tests.support.factories import at, contact, invoice, payment


def test_of_several_versions_the_newest_is_kept_whatever_their_order_and_one_without_a_stamp_is_the_oldest():
    versions = [contact(name="Of a document"), contact(minute=1, name="Old"), contact(minute=2, name="New")]
    for order in permutations(versions):
        [kept] = newest_of_each(Batch(contacts=order), at(60)).contacts
        assert kept.name == "New"


def test_records_come_sorted_by_their_keys():
    records = [contact("c2", minute=1), contact("c1"), contact("c3", minute=9)]
    kept = newest_of_each(Batch(contacts=records), at(60)).contacts
    assert [one.external_id for one in kept] == ["c1", "c2", "c3"]


def test_the_parts_of_a_payment_are_records_of_their_own():
    parts = [payment(to="i2"), payment(to="i1"), payment(to="i1", minute=5)]
    kept = newest_of_each(Batch(payments=parts), at(60)).payments
    assert [(one.invoice_external_id, one.vendor_updated_at) for one in kept] == [("i1", at(5)), ("i2", at(0))]


@pytest.mark.parametrize(("minute", "believed"), [(59, 59), (60, 60), (61, 60)])
def test_a_stamp_is_believed_up_to_the_instant_of_the_response(minute, believed):
    [kept] = newest_of_each(Batch(invoices=[invoice(minute=minute)]), at(60)).invoices
    assert kept.vendor_updated_at == at(believed)
