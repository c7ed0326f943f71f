"""The pre-flight check: tries everything a sync needs without changing anything, and says how to fix what fails."""

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

from app.connections import grants, reach, status, tenants, vendor_app
from app.connections.grant_choice import TenantReach
from app.connections.reach_reader import ReachReader
from app.connections.states import GrantState
from app.connections.tables import Grant, Tenant
from app.connections.unreadable_secrets import UnreadableSecrets, find_unreadable
from app.connections.vendor_app import App, VendorConfig
from app.connector import AppRejected, Connector, ConnectorError
from app.crypto import Sealer
from app.db import Database, Session
from app.sync.run_execution import RunnerDependencies
from app.sync.tenant_reads import TenantReader, TenantReads

# How long the vendor may take to say whether it knows the app, and which organisations a grant reaches.
ANSWER_SECONDS = 15.0
MAX_NAMES = 5


class CheckState(StrEnum):
    """How a check ended; `not_yet`: a step of the set-up that it needs has not been done."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_YET = "not_yet"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `fix` says what to do unless it passed."""

    name: str
    state: CheckState
    detail: str
    fix: str | None = None

    @property
    def ok(self) -> bool:
        return self.state == CheckState.PASSED


@dataclass(frozen=True, slots=True)
class Preflight:
    """The results of all checks.

    Attributes:
        summary: the first failure; else the first step that has not been done; else what the vendor lets us see.
    """

    summary: str
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.checks)


async def check(db: Database, sealer: Sealer, config: VendorConfig, shared: RunnerDependencies) -> Preflight:
    """Check the set-up in the order of its steps.

    Args:
        db: where the set-up is stored.
        sealer: decrypts the credentials and keys.
        config: the vendor's app as the environment describes it.
        shared: the vendor, its access tokens and rate limiter, with which it is called as a sync calls it.
    """
    connector = shared.connector
    async with db.transaction() as session:
        unreadable = await find_unreadable(session, sealer, config)
        app = await vendor_app.load_app(session, sealer, config)
        found = await grants.list_grants(session, connector.vendor)
        keys = await vendor_app.signing_keys(session, sealer, config)
    credentials, answers = await asyncio.gather(_try_credentials(connector, app), _ask_each(found, shared.reach_reader))
    async with db.transaction() as session:
        connection = await _read_connection(session, connector.vendor, answers, unreadable)
    reads = await _read_tenants(shared, connection)
    name = connector.profile.name
    visible = _check_connection(name, connection)
    checks = [
        _check_secrets(unreadable),
        credentials,
        _check_redirect_uri(config.redirect_uri),
        visible,
        *_each_grant(name, connection),
        _check_scopes(connection),
        _check_organisations(connection, reads),
        _check_webhook_key(keys),
    ]
    return Preflight(_summarise(checks, visible), checks)


def _summarise(checks: Sequence[Check], otherwise: Check) -> str:
    for state in (CheckState.FAILED, CheckState.NOT_YET):
        if found := next((one for one in checks if one.state == state), None):
            return found.detail
    return otherwise.detail


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """What the vendor answered, and what is stored after it.

    Attributes:
        grants: the grants that are not disconnected, the newest consent first.
        tenants: every tenant.
        reach: the grants of each tenant, by tenant id.
        answers: of each grant that was asked, the ids of its organisations or why they could not be read.
        unreadable: the grants whose tokens cannot be decrypted.
    """

    grants: Sequence[Grant]
    tenants: Sequence[Tenant]
    reach: Mapping[str, TenantReach]
    answers: Mapping[UUID, AbstractSet[str] | str]
    unreadable: AbstractSet[UUID]

    def selected_tenants(self) -> list[Tenant]:
        return [tenant for tenant in self.tenants if tenant.is_selected]

    def is_reached(self, tenant: Tenant) -> bool:
        """Return whether a living grant reaches the tenant."""
        return self.reach.get(tenant.tenant_id, TenantReach()).choose() is not None


async def _ask_each(found: Sequence[Grant], reach_reader: ReachReader) -> dict[UUID, AbstractSet[str] | str]:
    """Return, of each active grant, the organisations it reaches, or why the vendor did not say."""
    active = [grant.id for grant in found if grant.state == GrantState.ACTIVE]
    answers = await asyncio.gather(*(_ask_one(grant_id, reach_reader) for grant_id in active))
    return dict(zip(active, answers, strict=True))


async def _ask_one(grant_id: UUID, reach_reader: ReachReader) -> AbstractSet[str] | str:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return {organisation.tenant_id for organisation in await reach_reader.read(grant_id)}
    except TimeoutError:
        return f"There was no answer within {ANSWER_SECONDS:g} seconds."
    except ConnectorError as error:
        return str(error)


async def _read_connection(
    session: Session, vendor: str, answers: Mapping[UUID, AbstractSet[str] | str], unreadable: UnreadableSecrets
) -> StoredConnection:
    connected = [row for row in await grants.list_grants(session, vendor) if row.state != GrantState.DISCONNECTED]
    rows = await tenants.list_all_tenants(session, vendor)
    reached = await reach.read_reach(session, vendor, unreadable=unreadable.grant_ids)
    return StoredConnection(connected, rows, reached, answers, unreadable.grant_ids)


def _check_secrets(unreadable: UnreadableSecrets) -> Check:
    """Check that every stored secret can be decrypted; one that expires by itself within a day stops nothing."""
    if not unreadable.secrets:
        return Check("encryption_keys", CheckState.PASSED, "Every stored secret can be decrypted.")
    found = (unreadable.of_missing_keys(), unreadable.of_known_keys())
    detail = " ".join(one.describe() for one in found if one.secrets)
    if unreadable.is_transient:
        return Check("encryption_keys", CheckState.PASSED, detail)
    fix = "Put the right keys back into ENCRYPTION_KEYS and restart, or enter again what is lost."
    return Check("encryption_keys", CheckState.FAILED, detail, fix)


async def _read_tenants(shared: RunnerDependencies, connection: StoredConnection) -> TenantReads:
    """Try to read the selected tenants that a living grant reaches."""
    # No lease is needed for a read that writes no row. The setting for calls in flight stays below what the vendor
    # allows, and a tenant is read once here, so that the check beside a sync does not exceed it.
    reader = TenantReader(
        shared.db, shared.clock, lambda tenant_id: shared.make_client(tenant_id, lambda: None, is_patient=False)
    )
    return await reader.read([one for one in connection.selected_tenants() if connection.is_reached(one)])


async def _try_credentials(connector: Connector, app: App) -> Check:
    """Let the vendor say whether it knows the app."""
    if not (app.client_id and app.client_secret):
        fix = "Enter those of your app on the set-up page."
        if app.is_secret_unreadable:
            return Check("credentials", CheckState.FAILED, "The stored client secret cannot be decrypted.", fix)
        return Check("credentials", CheckState.NOT_YET, "Client id and secret are missing.", fix)
    name = connector.profile.name
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connector.check_app(app.credentials())
    except AppRejected as error:
        fix = "Copy the client id and the secret from the app again; make a new secret if it is lost."
        return Check("credentials", CheckState.FAILED, error.detail, fix)
    except (ConnectorError, TimeoutError) as error:
        reason = error.detail if isinstance(error, ConnectorError) else "There was no answer in time."
        detail = f"{name} did not say whether it knows this client id and secret. {reason}"
        return Check("credentials", CheckState.FAILED, detail, "Check again in a few minutes.")
    return Check("credentials", CheckState.PASSED, f"{name} accepts the client id and secret ({app.managed_by}).")


def _check_redirect_uri(uri: str) -> Check:
    """Check that browsers are sent back over https; vendors accept http for `localhost` alone."""
    parts = urlsplit(uri)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return Check("redirect_uri", CheckState.PASSED, f"The redirect URI is {uri}.")
    fix = "Set PUBLIC_URL to an https address, or to http://localhost for a trial."
    return Check("redirect_uri", CheckState.FAILED, f"The redirect URI is {uri}.", fix)


def _check_connection(name: str, connection: StoredConnection) -> Check:
    """Check that the vendor lists organisations for at least one grant."""
    lists = [answer for answer in connection.answers.values() if not isinstance(answer, str)]
    if lists:
        seen: set[str] = set().union(*lists)
        return Check("connection", CheckState.PASSED, f"Connected to {name}: {len(seen)} organisations visible.")
    reasons = [answer for answer in connection.answers.values() if isinstance(answer, str)]
    reasons += [grant.reason or f"{name} no longer accepts the connection." for grant in connection.grants]
    if reasons:
        return Check("connection", CheckState.FAILED, reasons[0], f"If it lasts, press Reconnect {name}.")
    return Check("connection", CheckState.NOT_YET, f"{name} is not connected.", f"Press Connect {name}.")


def _each_grant(name: str, connection: StoredConnection) -> list[Check]:
    """Say of each grant, where there are several, what it reaches or why it cannot be used."""
    if len(connection.grants) < 2:  # noqa: PLR2004 - the check of the connection says it all
        return []
    return [_one_grant(name, connection, grant) for grant in connection.grants]


def _one_grant(name: str, connection: StoredConnection, grant: Grant) -> Check:
    """A grant that cannot be used fails only if a selected organisation can be read through no other."""
    who = f"Connected by {grant.connected_by} on {grant.connected_at:%d %b %Y}"
    answer = connection.answers.get(grant.id, grant.reason or f"{name} no longer accepts it.")
    if not isinstance(answer, str):
        return Check("grant", CheckState.PASSED, f"{who}: {len(answer)} organisations visible.")
    waiting = [tenant.name for tenant in connection.selected_tenants() if _needs(connection, tenant, grant)]
    detail = f"{who}: it cannot be used. {answer}"
    if not waiting:
        return Check("grant", CheckState.PASSED, f"{detail} No picked organisation depends on it.")
    fix = f"Have the same user of {name} connect again, or another one who has access to {_list_names(waiting)}."
    return Check("grant", CheckState.FAILED, detail, fix)


def _needs(connection: StoredConnection, tenant: Tenant, grant: Grant) -> bool:
    """Return whether a tenant that this grant reaches can be read through no other grant."""
    known = connection.reach.get(tenant.tenant_id, TenantReach())
    reaches = any(one.grant_id == grant.id and one.is_listed for one in known.candidates)
    return reaches and known.choose([grant.id]) is None


def _check_scopes(connection: StoredConnection) -> Check:
    """Check the grants that selected organisations are read through, each the best one that reaches it."""
    if not connection.grants:
        return Check("scopes", CheckState.NOT_YET, "No permission has been given yet.", "Connect first.")
    needed = status.list_needed_reach(connection.grants, connection.tenants, connection.reach, connection.unreadable)
    chosen = [best for known in needed if (best := known.choose())]
    missing = sorted({scope for best in chosen for scope in best.missing_scopes})
    if missing:
        fix = "Review permissions: connect again."
        return Check("scopes", CheckState.FAILED, f"Missing: {', '.join(missing)}.", fix)
    return Check("scopes", CheckState.PASSED, "Every scope that is needed was granted.")


def _check_organisations(connection: StoredConnection, reads: TenantReads) -> Check:
    selected = connection.selected_tenants()
    if not selected:
        fix = "Pick at least one; nothing syncs before."
        return Check("organisations", CheckState.NOT_YET, "No organisation is picked.", fix)
    if unread := [tenant.name for tenant in selected if not connection.is_reached(tenant)]:
        detail = f"{len(unread)} of {len(selected)} picked organisations cannot be read, because no connection "
        fix = "Connect again as a user who has access to them, or pick others."
        return Check("organisations", CheckState.FAILED, f"{detail}reaches them: {_list_names(unread)}.", fix)
    if reads.problems:
        return _report_problems(selected, reads)
    return Check("organisations", CheckState.PASSED, f"{len(reads.good)} picked organisations were read.{_rest(reads)}")


def _report_problems(selected: Sequence[Tenant], reads: TenantReads) -> Check:
    names = {tenant.tenant_id: tenant.name for tenant in selected}
    told = [f"{names[tenant_id]}: {problem}" for tenant_id, problem in list(reads.problems.items())[:MAX_NAMES]]
    detail = f"{len(reads.problems)} of {len(selected)} picked organisations could not be read. {' '.join(told)}"
    fix = "Do what is said of each organisation; check again in a few minutes where it only says to wait."
    return Check("organisations", CheckState.FAILED, f"{detail}{_rest(reads)}", fix)


def _rest(reads: TenantReads) -> str:
    """Say which organisations a check left out, and what is known of them."""
    if not reads.untried:
        return ""
    tried = len(reads.good) + len(reads.problems)
    return (
        f" {len(reads.untried)} more were not tried, because a check tries only some, those with a problem first (this"
        f" time {tried}); their state is in the list of organisations."
    )


def _list_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


def _check_webhook_key(keys: Sequence[str]) -> Check:
    """Report the key, which is optional: without it changes come with the next tick instead of within seconds."""
    if keys:
        return Check("webhook_key", CheckState.PASSED, "A webhook signing key is set.")
    detail = "No webhook signing key is set, which is optional: changes come with the next tick."
    fix = "Copy the key from the app's Webhooks page to see changes within seconds."
    return Check("webhook_key", CheckState.PASSED, detail, fix)
