"""Xero's own Python SDK reads the simulator over a socket."""

import datetime as dt
from decimal import Decimal
from typing import Any

import httpx
import pytest
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient, Configuration
from xero_python.api_client.oauth2 import OAuth2Token, TokenApi
from xero_python.exceptions import AccountingBadRequestException, HTTPStatusException, RateLimitException
from xero_python.identity import IdentityApi

from tests.simulator.client import CLIENT, sign_in_over_socket


class Session:
    """The SDK's client, signed in; `token` is shared by its token getter and saver."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)
        self.http.post("/_control/reset").raise_for_status()
        self.token = sign_in_over_socket(self.http) | {"expires_at": None}
        credentials = OAuth2Token(client_id=CLIENT[0], client_secret=CLIENT[1])
        self.client = ApiClient(
            Configuration(oauth2_token=credentials),
            pool_threads=1,
            oauth2_token_getter=lambda: self.token,
            oauth2_token_saver=self.save,
        )
        self.accounting = AccountingApi(self.client, base_url=f"{url}/api.xro/2.0")
        self.identity = IdentityApi(self.client, base_url=url)
        self.tenant = self.identity.get_connections()[0].tenant_id

    def save(self, token: dict[str, Any]) -> None:
        self.token = token

    def control(self, method: str, path: str, /, **body: object) -> Any:
        response = self.http.request(method, f"/_control{path}", json=body)
        response.raise_for_status()
        return response.json()

    def close(self) -> None:
        self.http.close()
        self.client.rest_client.pool_manager.clear()


@pytest.fixture
def sdk(live_url, monkeypatch):
    monkeypatch.setattr(TokenApi, "refresh_token_url", f"{live_url}/connect/token")
    monkeypatch.setattr(TokenApi, "revoke_token_url", f"{live_url}/connect/revocation")
    session = Session(live_url)
    yield session
    session.close()


def test_the_sdk_lists_connections(sdk):
    connections = sdk.identity.get_connections()
    assert {row.tenant_type for row in connections} == {"ORGANISATION", "PRACTICE"}
    assert connections[0].created_date_utc.year >= 2026
    event = connections[0].auth_event_id
    assert len(sdk.identity.get_connections(auth_event_id=event)) == len(connections)


def test_the_sdk_deletes_a_connection(sdk):
    first, *others = sdk.identity.get_connections()
    sdk.identity.delete_connection(first.id)
    assert [row.id for row in sdk.identity.get_connections()] == [row.id for row in others]


def test_the_sdk_reads_contacts_invoices_and_credit_notes(sdk):
    state = sdk.control("GET", f"/tenants/{sdk.tenant}/state")
    contacts = sdk.accounting.get_contacts(sdk.tenant, page=1, page_size=1000, include_archived=True).contacts
    assert {row.contact_id for row in contacts} == {row["id"] for row in state["Contacts"]}
    invoices = sdk.accounting.get_invoices(sdk.tenant, page=1, page_size=1000).invoices
    assert [row.invoice_id for row in invoices] == [row["id"] for row in state["Invoices"]]
    for shown, held in zip(invoices, state["Invoices"], strict=True):
        assert shown.amount_due == Decimal(held["amount_due"])
        assert shown.date.isoformat() == held["issued_on"]
        assert shown.updated_date_utc.isoformat(timespec="milliseconds") == held["updated_at"].replace("Z", "+00:00")
        assert shown.currency_rate == (None if held["rate"] is None else Decimal(held["rate"]))
    notes = sdk.accounting.get_credit_notes(sdk.tenant, page=1, page_size=1000).credit_notes
    assert [row.remaining_credit for row in notes] == [Decimal(row["remaining"]) for row in state["CreditNotes"]]


def test_the_sdk_reads_payments(sdk):
    # The SDK cannot parse the strings that Xero's own example has here.
    sdk.control("PATCH", "/options", batch_payment_as_text=False)
    state = sdk.control("GET", f"/tenants/{sdk.tenant}/state?resource=Payments")["Payments"]
    payments = sdk.accounting.get_payments(sdk.tenant, page=1, page_size=1000).payments
    assert [row.payment_id for row in payments] == [row["id"] for row in state]
    assert [row.amount for row in payments] == [Decimal(row["amount"]) for row in state]


def test_the_sdk_reads_changes_since_a_time(sdk):
    state = sdk.control("GET", f"/tenants/{sdk.tenant}/state?resource=Invoices")["Invoices"]
    middle = dt.datetime.fromisoformat(state[200]["updated_at"])
    found = sdk.accounting.get_invoices(sdk.tenant, if_modified_since=middle, page=1, page_size=1000).invoices
    assert [row.invoice_id for row in found] == [row["id"] for row in state[400 - len(found) :]]
    assert 0 <= len(found) - 200 <= 1, "the bound is the whole second"


def test_the_sdk_filters_and_reads_one(sdk):
    condition = 'Type=="ACCREC" && Status=="PAID"'
    found = sdk.accounting.get_invoices(sdk.tenant, where=condition, order="Date DESC", page=1).invoices
    assert found
    assert {(row.type, row.status) for row in found} == {("ACCREC", "PAID")}
    assert found[0].date >= found[-1].date
    (single,) = sdk.accounting.get_invoice(sdk.tenant, found[0].invoice_id).invoices
    assert single.line_items
    ids = [row.invoice_id for row in found[:3]]
    assert {row.invoice_id for row in sdk.accounting.get_invoices(sdk.tenant, i_ds=ids).invoices} == set(ids)


def test_the_sdk_refreshes_and_revokes(sdk):
    old = sdk.token
    sdk.client.refresh_oauth2_token()
    assert sdk.token["refresh_token"] != old["refresh_token"]
    assert sdk.accounting.get_invoices(sdk.tenant, page=1).invoices
    sdk.client.revoke_oauth2_token()
    sdk.token = old | {"expires_at": None}
    assert sdk.identity.get_connections() == []


def test_the_sdk_recognises_the_errors(sdk):
    sdk.control("POST", "/tokens/expire")
    with pytest.raises(HTTPStatusException) as refused:
        sdk.accounting.get_invoices(sdk.tenant, page=1)
    assert refused.value.status == 401
    sdk.client.refresh_oauth2_token()
    with pytest.raises(AccountingBadRequestException) as unread:
        sdk.accounting.get_invoices(sdk.tenant, where="nonsense")
    assert unread.value.error_data["Type"] == "QueryParseException"
    sdk.control("POST", "/faults", kind="limit_concurrent")
    with pytest.raises(RateLimitException) as limited:
        sdk.accounting.get_invoices(sdk.tenant, page=1)
    assert limited.value.headers["x-rate-limit-problem"] == "concurrent"
