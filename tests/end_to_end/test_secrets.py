"""No secret is readable in a log line, a response, or the database, whatever happens to the connection."""

import base64
import logging
import os
import secrets
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import make_url

from app.connections.key_rotation import rotate
from app.log import configure_logging
from tests.support.service import INTEGRATION, open_harness
from tests.support.webhooks import HOOK, PROBE, delivery, sign

ENCRYPTION_KEY = os.urandom(32)
CLIENT_ID = "SIMULATED-CLIENT"
# A secret that is cut off, as long messages are, counts as readable where so many of its characters are left.
PIECE = 20
EVERY_LIST = ("tenants", "runs", "usage", "webhook-events", "reconciliations", "audit-log")


class Canaries:
    """The secrets of a run by what they are, and everything in which none of them may be read."""

    def __init__(self):
        names = ("client secret", "wrong client secret", "webhook key", "database password", "JWT secret")
        # As long as secrets are, and unlike anything else that is logged or answered.
        self.secrets = {name: secrets.token_urlsafe(36) for name in names}
        self.secrets["encryption key"] = base64.b64encode(ENCRYPTION_KEY).decode()
        self.tokens = {}
        self.consents = {}
        self.responses = []

    def __getitem__(self, name):
        return self.secrets[name]

    async def keep_response(self, response):
        """Keep a response's headers and body, and the API token of its request; a hook of the harness's client."""
        await response.aread()
        headers = [value for name, value in response.headers.multi_items() if name != "set-cookie"]
        self.responses.append("\n".join((*headers, response.text)))
        if authorization := response.request.headers.get("authorization"):
            self.tokens[authorization.removeprefix("Bearer ")] = "API token"

    async def keep_consent(self, response):
        """Keep what Xero sends the browser back with; a hook of the harness's client of Xero."""
        sent_back = parse_qs(urlsplit(response.headers.get("location", "")).query)
        self.consents |= {value: name for name in ("code", "state") for value in sent_back.get(name, ())}

    def keep_tokens(self, issued):
        """Keep what the simulated Xero has issued until now."""
        self.tokens |= dict.fromkeys(issued.access_tokens, "access token")
        self.tokens |= dict.fromkeys(issued.refresh_tokens, "refresh token")
        self.tokens |= dict.fromkeys(issued.id_tokens, "id token")

    def found_in(self, text):
        """Return the names of the secrets of which a text contains a piece.

        Code and state of a consent are left out: they stand in addresses that responses hold.
        """
        return self._find(text, self.tokens | {secret: name for name, secret in self.secrets.items()})

    def consents_in(self, text):
        """Return which of code and state a text contains."""
        return self._find(text, self.consents)

    def _find(self, text, known):
        return {name for secret, name in known.items() if any(piece in text for piece in pieces(secret))}


def pieces(secret):
    """Return the parts of a secret that are long enough to be unlike anything else; all JWTs have the same header."""
    own = secret.partition(".")[2] if secret.startswith("eyJ") else secret
    return [own[start : start + PIECE] for start in range(0, len(own) - PIECE + 1, PIECE)]


@pytest.fixture(autouse=True)
def logs(capsys):  # noqa: ARG001 - the service logs to the stream that it captures
    """Take the place of this folder's captured log: what is tested is the log as the service writes it."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("debug", "json")
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@asynccontextmanager
async def watched(dsn, canaries):
    """Open a harness whose secrets are canaries, set up through the API, and keep every response."""
    given: dict[str, Any] = {
        **dict.fromkeys(("xero_client_id", "xero_client_secret", "xero_webhook_key")),
        "encryption_keys": SecretStr(f"canary:{canaries['encryption key']}"),
        "auth_jwt_secret": SecretStr(canaries["JWT secret"]),
    }
    books = {"organisations": 1, "contacts": 3, "invoices": 6, "payments": 3, "credit_notes": 2}
    options = books | {"client_secret": canaries["client secret"], "webhook_key": canaries["webhook key"]}
    async with open_harness(dsn, options=options, **given) as harness:
        harness.jwt_secret = canaries["JWT secret"]
        harness.client.event_hooks["response"].append(canaries.keep_response)
        harness.xero.event_hooks["response"].append(canaries.keep_consent)
        yield harness


@pytest.fixture
def own_role(administrator, dsn):
    """The test's DSN with a role whose password is a canary, and the canaries."""
    canaries = Canaries()
    role = f"canary_{os.getpid()}"
    administrator.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{canaries['database password']}'")
    url = make_url(dsn).set(username=role, password=canaries["database password"])
    yield url.render_as_string(hide_password=False), canaries
    administrator.execute(f"DROP ROLE {role}")


async def test_no_secret_is_readable_in_the_log_in_a_response_or_in_the_database(own_role, capsys):
    dsn, canaries = own_role
    async with watched(dsn, canaries) as harness:
        await set_up(harness, canaries)
        await receive_webhooks(harness, canaries)
        await fail_at_xero(harness, canaries)
        await lose_the_connection(harness)
        await read_everything(harness)
        await rotate(harness.services.db, harness.services.sealer, "command")
        during = await dump(harness)
        assert (await harness.call("POST", f"{INTEGRATION}/disconnect")).json()["state"] == "not_connected"
        after = await dump(harness)
        audit = await harness.read(f"{INTEGRATION}/audit-log")
        canaries.keep_tokens(harness.simulator.simulator_state.tokens)
    await fail_at_the_database(dsn, canaries)

    log = capsys.readouterr().err
    assert {"xero_disconnected", "integration_credentials_updated"} <= {entry["action"] for entry in audit["items"]}
    assert set(canaries.tokens.values()) == {"API token", "access token", "refresh token", "id token"}
    assert canaries.found_in("\n".join(canaries.responses)) == set()
    assert canaries.found_in(log) == set()
    assert canaries.found_in(during + after) == set()
    assert set(canaries.consents.values()) == {"code", "state"}
    assert canaries.consents_in(log + during + after) == set()
    # What is searched holds what it should: ids that are no secret, and lines of the lowest level.
    assert CLIENT_ID in during
    assert CLIENT_ID in "".join(canaries.responses)
    assert '"level": "debug"' in log
    assert "database_unavailable" in log


async def set_up(harness, canaries):
    """Enter credentials, wrong ones first, connect, and sync; a repeated request gets its kept reply."""
    wrong = {"client_id": CLIENT_ID, "client_secret": canaries["wrong client secret"]}
    await put(harness, "credentials", wrong)
    assert (await harness.give_consent()).endswith("?xero=exchange_failed")
    # A value of another type is refused and not repeated.
    refused = {"client_id": 7, "client_secret": [canaries["client secret"]]}
    assert (await harness.call("PUT", f"{INTEGRATION}/credentials", json=refused)).status_code == 422
    right = {"client_id": CLIENT_ID, "client_secret": canaries["client secret"], "scope_set": "granular"}
    for _ in range(2):
        await put(harness, "credentials", right, {"Idempotency-Key": "once"})
    await put(harness, "webhook-key", {"signing_key": canaries["webhook key"]})
    await harness.connect_and_sync()


async def put(harness, name, body, headers=None):
    answer = await harness.call("PUT", f"{INTEGRATION}/{name}", json=body, headers=headers)
    assert answer.is_success, answer.text


async def receive_webhooks(harness, canaries):
    [tenant_id] = await harness.selected_tenants()
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=2, webhook=True)
    for body, signature, status in [
        (PROBE, sign(PROBE, canaries["webhook key"]), 200),
        (b"no json", sign(b"no json", canaries["webhook key"]), 200),
        (delivery(), sign(delivery(), "another key"), 401),
    ]:
        answer = await harness.client.post(HOOK, content=body, headers={"x-xero-signature": signature})
        assert answer.status_code == status
    await harness.run_until_idle()
    assert {event["status"] for event in await events(harness)} >= {"processed"}


async def events(harness):
    return (await harness.read(f"{INTEGRATION}/webhook-events"))["items"]


async def fail_at_xero(harness, canaries):
    """Let Xero refuse a token, and repeat what was sent to it in the errors of the API and of the token endpoint."""
    issued = harness.simulator.simulator_state.tokens
    before = set(issued.access_tokens)
    await harness.add_fault("bad_token", resource="Contacts")
    assert (await harness.sync())["status"] == "succeeded"
    [access], refresh = set(issued.access_tokens) - before, list(issued.refresh_tokens)[-1]

    echo = f"Bad request with {refresh}, {canaries['client secret']} and Bearer {access}"
    await harness.add_fault("query_error", resource="Invoices", text=echo, times=None)
    assert (await harness.sync())["status"] == "partial"
    await harness.control("DELETE", "/faults")
    await harness.control("POST", "/tokens/expire")
    await harness.add_fault("oauth_error", path="/connect/token", text=echo, times=None)
    assert (await harness.sync())["status"] == "failed"
    await harness.call("POST", f"{INTEGRATION}/check")
    await harness.control("DELETE", "/faults")


async def lose_the_connection(harness):
    """Let Xero refuse the refresh token, so that a person has to reconnect."""
    await harness.execute("UPDATE grants SET next_refresh_at = NULL")
    await harness.control("POST", "/tokens/revoke", {})
    assert (await harness.sync())["status"] == "failed"
    assert (await harness.integration_status())["state"] == "reconnect_required"
    assert (await harness.give_consent()).endswith("?xero=connected")


async def read_everything(harness):
    await harness.integration_status()
    for name in EVERY_LIST:
        await harness.read(f"{INTEGRATION}/{name}")
    assert (await harness.client.get("/metrics")).status_code == 200
    assert (await harness.client.get("/openapi.json")).status_code == 200


async def dump(harness):
    """Return every row of every table as text. What is sealed in it can be read with no canary but the key."""
    tables = await harness.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        row["content"]
        for table in tables
        for row in await harness.query(f"SELECT row_to_json(one)::text AS content FROM {table['tablename']} AS one")  # noqa: S608 - names of the catalogue
    ]
    assert len(tables) > 20
    return "\n".join(rows)


async def fail_at_the_database(dsn, canaries):
    """Start the service with the password on a database that does not exist, and let it answer."""
    missing = make_url(dsn).set(database="missing").render_as_string(hide_password=False)
    async with watched(missing, canaries) as harness:
        answer = await harness.call("GET", INTEGRATION)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
