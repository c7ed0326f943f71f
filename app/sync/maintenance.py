"""Maintenance: what each replica does for one vendor now and then, beside the runs."""

from datetime import timedelta

from app import idempotency
from app.billing.alerts import AlertPolicy
from app.billing.maintenance import refresh_derived
from app.clock import Clock
from app.connections import disconnect, tenants
from app.connections.tokens import AccessTokens
from app.connections.vendor_app import VendorConfig
from app.connector import Connector
from app.crypto import Sealer
from app.db import Database, terminate_stuck_transactions
from app.db_connection import APPLICATION_NAME
from app.sync import progress, runs
from app.sync.notifications import outbox
from app.sync.webhooks import inbox

# No transaction of this service lasts so long unless its process is suspended.
STUCK_TRANSACTION_SECONDS = 60.0


class Maintenance:
    """Keeps one vendor's tables small and its grants alive, and what is derived from the tables up to date.

    Args:
        db: the database that all replicas share.
        clock: says what day it is.
        sealer: opens refresh tokens that are to be revoked.
        connector: the vendor.
        config: the vendor app as the environment has it.
        tokens: refreshes grants.
        alerts: when an alert is opened.
        webhook_event_lifetime: how long closed webhook events are kept.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the tasks of maintenance have little in common
        self,
        db: Database,
        clock: Clock,
        sealer: Sealer,
        connector: Connector,
        config: VendorConfig,
        tokens: AccessTokens,
        alerts: AlertPolicy,
        webhook_event_lifetime: timedelta,
    ) -> None:
        self._db = db
        self._clock = clock
        self._sealer = sealer
        self._connector = connector
        self._config = config
        self._tokens = tokens
        self._alerts = alerts
        self._webhook_event_lifetime = webhook_event_lifetime

    async def run(self) -> None:
        """End stuck transactions, delete expired rows, refresh idle grants and finish revocations."""
        async with self._db.transaction() as session:
            await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", STUCK_TRANSACTION_SECONDS)
            await progress.delete_expired(session)
            await runs.delete_expired(session)
            await idempotency.delete_expired(session)
            await inbox.delete_expired(session, self._webhook_event_lifetime)
            await outbox.delete_expired(session)
        await self._tokens.refresh_idle_grants()
        await disconnect.revoke_pending(self._db, self._sealer, self._connector, self._config)

    async def refresh_derived(self) -> None:
        """Bring alerts and the match review up to date with the tables."""
        async with self._db.transaction() as session:
            sources = await tenants.read_source_details(session)
            await refresh_derived(session, self._clock.now(), self._alerts, sources)
