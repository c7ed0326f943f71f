"""Webhooks: the signature over raw bytes, Xero's spacing, probes, redelivery, and the checks of Xero's portal."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from hmac import digest

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.main import create_app
from simulator.webhooks import corrupt_signature, encode_payload, sign

KEY = "LR+QgKlbRciIPYpi65tTKLaZ3FzLLofCNEQWrRXqWXJeDFrfexzfVI9SmnVuCWDJ4jnjHB9ECtOyxZSofRxwWw=="
PROBE = b'{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "LUWDSUDGSWNZVALZXBEV"}'


class Receiver:
    """An app that records deliveries and checks signatures; tests may change its responses."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str]] = []
        self.response = Response(status_code=200)
        self.refusal_response = Response(status_code=401)
        self.app = Starlette(routes=[Route("/hook", self.receive, methods=["POST"])])

    async def receive(self, request: Request) -> Response:
        body, signature = await request.body(), request.headers["x-xero-signature"]
        self.received.append((body, signature))
        return self.response if is_signed(body, signature) else self.refusal_response


def is_signed(body: bytes, signature: str) -> bool:
    return b64encode(digest(b"simulated-webhook-key", body, sha256)).decode() == signature


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def simulator(options, clock, receiver):
    app = create_app(options, clock, httpx.ASGITransport(receiver.app))
    app.simulator_state.change_options(webhook_url="http://app.test/hook")
    return app


def test_the_signature_equals_the_published_example():
    assert encode_payload([], (0, 0), "LUWDSUDGSWNZVALZXBEV") == PROBE
    assert sign(KEY, PROBE) == "BjzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4="
    assert corrupt_signature(sign(KEY, PROBE)) == "/jzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4="
    assert corrupt_signature("/abc") == "Babc"


async def test_an_edit_can_send_its_webhook_at_once(xero, receiver, contact_id):
    outcome = await xero.control(
        "POST", f"/tenants/{xero.tenant}/edits", edit="create_invoice", contact_id=contact_id, webhook=True
    )
    ((body, signature),) = receiver.received
    assert is_signed(body, signature)
    payload = json.loads(body)
    invoice_id = outcome["changes"][0]["id"]
    assert payload["events"] == [
        {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{invoice_id}",
            "resourceId": invoice_id,
            "tenantId": xero.tenant,
            "tenantType": "ORGANISATION",
            "eventCategory": "INVOICE",
            "eventType": "CREATE",
            "eventDateUtc": "2026-11-22T10:00:00.250",
        }
    ]
    assert (payload["firstEventSequence"], payload["lastEventSequence"]) == (1, 1)
    assert re.fullmatch(r"[A-Z]{20}", payload["entropy"])
    assert json.dumps(payload).encode() != body, "no JSON library writes it with this spacing"
    assert (outcome["delivery"]["status"], outcome["delivery"]["ok"]) == (200, True)


async def test_a_payment_sends_an_invoice_event_and_a_payment_event_only_when_subscribed(xero, receiver):
    invoice = next(row for row in await xero.rows("Invoices", Statuses="AUTHORISED") if row["Type"] == "ACCREC")
    await xero.edit("pay", invoice_id=invoice["InvoiceID"], amount="1.00", webhook=True)
    await xero.control("PUT", "/webhook", categories=["INVOICE", "PAYMENT"])
    await xero.edit("pay", invoice_id=invoice["InvoiceID"], amount="1.00", webhook=True)
    first, second = (json.loads(body) for body, _ in receiver.received)
    assert [(event["eventCategory"], event["eventType"]) for event in first["events"]] == [("INVOICE", "UPDATE")]
    assert [event["eventCategory"] for event in second["events"]] == ["PAYMENT", "INVOICE"]
    assert (second["firstEventSequence"], second["lastEventSequence"]) == (2, 3)


async def test_credit_note_events_have_type_and_status_and_contact_events_no_data(xero, receiver, contact_id):
    await xero.edit("create_credit_note", contact_id=contact_id, type="ACCPAYCREDIT", status="DRAFT", webhook=True)
    await xero.edit("archive", contact_id=contact_id, webhook=True)
    note, archived = (json.loads(body)["events"][0] for body, _ in receiver.received)
    assert note["data"] == {"Type": "ACCPAYCREDIT", "Status": "DRAFT"}
    assert (archived["eventCategory"], archived["eventType"]) == ("CONTACT", "UPDATE")
    assert "data" not in archived


async def test_nothing_is_sent_for_changes_nobody_subscribed_to(xero, receiver):
    await xero.control("PUT", "/webhook", categories=["CREDITNOTE"])
    outcome = await xero.control(
        "POST", f"/tenants/{xero.tenant}/edits", edit="create_contact", name="Quiet", webhook=True
    )
    assert outcome["delivery"] is None
    assert receiver.received == []


async def test_three_of_four_probes_have_one_wrong_character_in_the_signature(xero, receiver):
    outcome = await xero.control("POST", "/webhook/probe")
    assert outcome["ok"] is True
    assert len(receiver.received) == 4
    assert [is_signed(body, signature) for body, signature in receiver.received] == [False, True, False, False]
    for body, signature in receiver.received:
        payload = json.loads(body)
        assert (payload["events"], payload["firstEventSequence"], payload["lastEventSequence"]) == ([], 0, 0)
        assert len(body) == 95
        assert signature[1:] == sign("simulated-webhook-key", body)[1:]
    assert len({body for body, _ in receiver.received}) == 4


@pytest.mark.parametrize(
    ("response", "problems", "ok"),
    [
        (Response(status_code=200), [], True),
        (Response('{"stored": 0}'), ["Response contains a body"], True),
        (Response(status_code=204), ["Response not 200"], False),
        (Response(status_code=500), ["Response not 200"], False),
        (Response(headers={"set-cookie": "a=b"}), ["Response sets cookies"], False),
    ],
)
async def test_responses_are_checked_as_xeros_portal_does(xero, receiver, response, problems, ok):
    receiver.response = response
    outcome = await xero.control("POST", "/webhook/probe", pattern=[True])
    assert outcome["deliveries"][0]["problems"] == problems
    assert outcome["ok"] is ok


async def test_a_response_body_fails_when_it_is_not_allowed(xero, receiver):
    await xero.control("PUT", "/webhook", body_allowed=False)
    receiver.response = Response('{"stored": 0}')
    assert (await xero.control("POST", "/webhook/probe", pattern=[True]))["ok"] is False


async def test_a_bad_signature_must_be_refused(xero, receiver):
    receiver.refusal_response = Response(status_code=200)
    outcome = await xero.control("POST", "/webhook/probe", pattern=[False])
    assert outcome["deliveries"][0]["problems"] == ["Response to incorrectly signed payload not 401"]
    assert outcome["ok"] is False


async def test_a_redelivery_has_the_same_events_and_another_entropy(xero, receiver):
    await xero.edit("create_contact", name="Twice", webhook=True)
    await xero.control("POST", "/webhook/deliveries/1")
    (first, _), (second, signature) = receiver.received
    assert json.loads(first)["events"] == json.loads(second)["events"]
    assert json.loads(first)["lastEventSequence"] == json.loads(second)["lastEventSequence"]
    assert json.loads(first)["entropy"] != json.loads(second)["entropy"]
    assert is_signed(second, signature)
    assert len(await xero.control("GET", "/webhook/deliveries")) == 2


async def test_any_events_can_be_sent(xero, receiver):
    event = {"eventCategory": "SUBSCRIPTION", "tenantType": "APPLICATION", "eventType": "Update"}
    good = await xero.control("POST", "/webhook/send", events=[event])
    bad = await xero.control("POST", "/webhook/send", events=[event], sign_well=False)
    assert (good["status"], bad["status"]) == (200, 401)
    assert json.loads(receiver.received[0][0])["events"] == [event]


async def test_a_delivery_without_an_address_reports_the_error(xero):
    await xero.control("PUT", "/webhook", url="")
    outcome = await xero.control("POST", "/webhook/probe", pattern=[True])
    assert "no webhook URL is configured" in outcome["deliveries"][0]["error"]
    assert outcome["deliveries"][0]["problems"] == ["No response within 5 seconds"]


async def test_an_unknown_delivery_cannot_be_repeated(xero):
    response = await xero.http.post("/_control/webhook/deliveries/99")
    assert (response.status_code, "no delivery 99" in response.text) == (400, True)
