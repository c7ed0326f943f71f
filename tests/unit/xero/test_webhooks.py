"""Notices: the signature over raw bytes, and events of which nothing is trusted."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.billing.records import Resource
from app.connector import BadSignature, NoticeUnreadable
from app.xero.webhooks import read_notices, sign

# Bytes, key and signatures of a real intent to receive, published by their receiver; the probe's own signature was
# wrong on purpose, by one character.
PROBE = b'{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "LUWDSUDGSWNZVALZXBEV"}'
PROBE_KEY = "LR+QgKlbRciIPYpi65tTKLaZ3FzLLofCNEQWrRXqWXJeDFrfexzfVI9SmnVuCWDJ4jnjHB9ECtOyxZSofRxwWw=="
RIGHT = b"BjzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4="
WRONG = b"/jzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4="

KEY = "a key of ours"
TENANT = "aef86862-2015-4b6b-88bc-d89032cecc50"
SUBJECT = "55d84274-a3da-4829-a7c0-0cab601b95cc"


def event(**changes):
    row = {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{SUBJECT}",
        "resourceId": SUBJECT,
        "tenantId": TENANT,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": "2025-12-02T00:44:09.923",
    }
    return {name: value for name, value in (row | changes).items() if value is not None}


def delivery(*events):
    return json.dumps({"events": events, "firstEventSequence": 76, "lastEventSequence": 76, "entropy": "FXNG"}).encode()


def read_body(body):
    return read_notices(body, [sign(body, KEY)], [KEY])


def read_one(row):
    (notice,) = read_body(delivery(row))
    return notice


def test_the_real_probe_is_known_by_its_right_signature_alone():
    assert len(PROBE) == 95
    assert read_notices(PROBE, [RIGHT], [PROBE_KEY]) == []
    with pytest.raises(BadSignature):
        read_notices(PROBE, [WRONG], [PROBE_KEY])


def test_the_key_before_the_newest_is_good_as_well():
    assert read_notices(PROBE, [RIGHT], ["the newest", PROBE_KEY]) == []


@pytest.mark.parametrize(
    ("signatures", "keys"),
    [
        ([], [PROBE_KEY]),
        ([b""], [PROBE_KEY]),
        ([RIGHT, RIGHT], [PROBE_KEY]),
        ([RIGHT], []),
        ([RIGHT], [""]),
        ([sign(PROBE, "")], [""]),
        ([RIGHT], ["another"]),
        ([RIGHT.lower()], [PROBE_KEY]),
        ([RIGHT + b" "], [PROBE_KEY]),
        (["Bjzñ☃".encode()], [PROBE_KEY]),
        ([b"\xff\xfe\x00"], [PROBE_KEY]),
        ([b"x" * 100_000], [PROBE_KEY]),
    ],
)
def test_anything_but_one_signature_with_a_key_of_ours_is_refused(signatures, keys):
    with pytest.raises(BadSignature):
        read_notices(PROBE, signatures, keys)


def test_one_changed_byte_breaks_the_signature():
    with pytest.raises(BadSignature):
        read_notices(PROBE.replace(b": 0", b":0"), [RIGHT], [PROBE_KEY])


@pytest.mark.parametrize("key", ["ключ ☃", "\udcff not utf-8 in the environment"])
def test_a_key_may_hold_any_character(key):
    assert read_notices(PROBE, [sign(PROBE, key)], [key]) == []


def test_an_event_tells_what_to_read_again():
    row = event()
    notice = read_one(row)
    assert (notice.tenant_id, notice.resource_id) == (TENANT, SUBJECT)
    assert (notice.category, notice.event_type) == ("INVOICE", "UPDATE")
    assert notice.event_at == datetime(2025, 12, 2, 0, 44, 9, 923000, tzinfo=UTC)
    assert (notice.resource, notice.why_ignored) == (Resource.INVOICES, None)
    assert notice.payload == row


def test_letter_case_does_not_matter():
    notice = read_one(
        event(eventCategory="Contact", eventType="Update", tenantId=TENANT.upper(), resourceId=SUBJECT.upper())
    )
    assert (notice.category, notice.event_type, notice.resource) == ("CONTACT", "UPDATE", Resource.CONTACTS)
    assert (notice.tenant_id, notice.resource_id) == (TENANT, SUBJECT)


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2025-12-02T00:44:09", 0),
        ("2025-12-02T00:44:09.9", 900000),
        ("2025-12-02T00:44:09.9231234", 923123),
        ("2025-12-02T00:44:09.923Z", 923000),
    ],
)
def test_the_instant_may_have_any_fraction(text, microsecond):
    notice = read_one(event(eventDateUtc=text))
    assert notice.event_at == datetime(2025, 12, 2, 0, 44, 9, microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "resource"),
    [
        ({"eventCategory": "INVOICE"}, Resource.INVOICES),
        ({"eventCategory": "CONTACT"}, Resource.CONTACTS),
        ({"eventCategory": "CREDITNOTE", "data": {"Type": "ACCRECCREDIT", "Status": "DRAFT"}}, Resource.CREDIT_MEMOS),
        ({"eventCategory": "CREDITNOTE"}, Resource.CREDIT_MEMOS),
        ({"eventCategory": "PAYMENT"}, Resource.PAYMENTS),
        ({"eventCategory": "PAYMENT", "data": {"PaymentType": "ACCRECPAYMENT"}}, Resource.PAYMENTS),
        ({"eventCategory": "PAYMENT", "data": {"Type": "accrecpayment"}}, Resource.PAYMENTS),
        ({"eventCategory": "PAYMENT", "data": "none"}, Resource.PAYMENTS),
        ({"eventType": "TELEPORTED"}, Resource.INVOICES),
        ({"resourceUrl": "http://169.254.169.254/latest"}, Resource.INVOICES),
    ],
)
def test_what_is_kept_is_read_again(changes, resource):
    notice = read_one(event(**changes))
    assert (notice.resource, notice.why_ignored) == (resource, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"eventCategory": "OVERPAYMENT"}, "nobody asked for OVERPAYMENT"),
        ({"eventCategory": "PREPAYMENT"}, "nobody asked for PREPAYMENT"),
        ({"eventCategory": None}, "nobody asked for events without a category"),
        ({"eventCategory": "SUBSCRIPTION", "tenantType": "APPLICATION"}, "about the app"),
        ({"tenantType": "application"}, "about the app"),
        ({"eventCategory": "CREDITNOTE", "data": {"Type": "ACCPAYCREDIT", "Status": "DRAFT"}}, "a supplier's"),
        ({"eventCategory": "PAYMENT", "data": {"PaymentType": "ACCPAYPAYMENT"}}, "a supplier's"),
        ({"eventCategory": "PAYMENT", "data": {"PaymentType": "ARCREDITPAYMENT"}}, "a refund"),
        ({"eventCategory": "INVOICE", "data": {"Type": "ACCPAY"}}, "a supplier's"),
        ({"resourceId": "../../Organisation"}, "resourceId is not a UUID"),
        ({"resourceId": None}, "resourceId is not a UUID"),
        ({"tenantId": 7}, "tenantId is not a UUID"),
        ({"eventDateUtc": "today"}, "eventDateUtc is no date"),
        ({"data": {"Type": "null\0"}}, "cannot be stored"),
        ({"data": {"n": 10**60}}, "cannot be stored"),
        ({"data": json.loads("[" * 50 + "]" * 50)}, "cannot be stored"),
    ],
)
def test_what_is_not_read_says_why(changes, why):
    notice = read_one(event(**changes))
    assert notice.resource is None
    assert why in notice.why_ignored


RAW_EVENTS = [
    b"null",
    b"7",
    b'"event"',
    b"[]",
    b"{}",
    b"1e400",
    b'{"resourceId":"\xed\xa0\x80"}',
    b'{"a":' + b"1" * 9000 + b"}",
]


@pytest.mark.parametrize("raw", RAW_EVENTS)
def test_one_bad_event_is_returned_beside_the_good_ones(raw):
    body = b'{"events":[' + raw + b"," + json.dumps(event()).encode() + b"]}"
    bad, good = read_body(body)
    assert good.resource is Resource.INVOICES
    assert (bad.resource, bad.event_at) == (None, datetime(1970, 1, 1, tzinfo=UTC))
    assert bad.why_ignored
    assert bad.resource_id
    assert bad.payload
    json.dumps(bad.payload).encode()


@pytest.mark.parametrize("odd", [{"data": "null\0"}, {"data": 10**60}, {"data": json.loads("[" * 50 + "]" * 50)}])
def test_an_event_that_cannot_be_stored_as_it_is_is_stored_as_text(odd):
    (payload,) = read_one(event(**odd)).payload.values()
    assert SUBJECT in payload
    assert "\0" not in payload


def test_words_of_an_event_fit_an_index_however_long_they_are():
    long = "x" * 10_000
    notice = read_one(event(eventCategory=long, eventType=long, resourceId=long, tenantId=long))
    words = (notice.category, notice.event_type, notice.resource_id, notice.tenant_id)
    assert [len(word) for word in words] == [100] * 4


def test_bad_events_without_an_id_are_different_events():
    first, second = read_body(b'{"events":[1,2]}')
    assert first.resource_id != second.resource_id


def test_a_bare_control_character_fails_no_event():
    (odd,) = read_body(delivery(event(eventType="MARK")).replace(b"MARK", b"up\tdown"))
    assert (odd.event_type, odd.resource) == ("UP DOWN", Resource.INVOICES)


def test_half_a_surrogate_pair_fails_no_event():
    body = delivery(event(), event(eventType="MARK")).replace(b"MARK", rb"up\ud83d")
    _, odd = read_body(body)
    assert (odd.event_type, odd.resource) == ("UP\ufffd", Resource.INVOICES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"events":null}',
        b'{"events":{}}',
        b'{"events":[',
        b'{"events":[NaN]}',
        b'{"events":' + b"[" * 100_000,
        b'{"events":[' + b'{"a":' * 100_000,
        b"<html></html>",
        b"\x00",
        b"\xff\xfe",
    ],
)
def test_what_is_no_notice_at_all_is_unreadable_however_well_signed(body):
    with pytest.raises(NoticeUnreadable):
        read_body(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.dictionaries(st.sampled_from([*event(), "data", "Type", "other"]), JSON, max_size=6)


# How long it takes to make an example depends on what else the machine does.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS | JSON, max_size=3))
def test_every_event_becomes_a_notice_that_can_be_stored(events):
    body = delivery(*[event() | row if isinstance(row, dict) else row for row in events])
    notices = read_body(body) if b"Infinity" not in body else []
    assert len(notices) in (0, len(events))
    for notice in notices:
        assert (notice.resource is None) is (notice.why_ignored is not None)
        texts = (notice.tenant_id, notice.resource_id, notice.category, notice.event_type)
        assert all(len(text) <= 100 and "\0" not in text for text in texts)
        assert "\\u0000" not in json.dumps(notice.payload).replace("\\\\", "")
        assert notice.event_at.tzinfo is UTC


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_in_another_way(body):
    with suppress(NoticeUnreadable):
        read_body(body)


@given(st.binary(max_size=60), st.integers(0, 94))
def test_no_byte_spliced_into_a_notice_does_either(splice, place):
    whole = delivery(event())
    with suppress(NoticeUnreadable):
        read_body(whole[:place] + splice + whole[place:])
