"""The connections of users to tenants."""

from collections.abc import Iterable
from datetime import datetime
from uuid import uuid4

from simulator.identity.model import Connection


class Connections:
    """All connections, removed ones included, so that connecting again keeps the connection id."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Connection] = {}

    def connect(self, user_id: str, tenant_ids: Iterable[str], auth_event_id: str, now: datetime) -> None:
        """Connect tenants to the app.

        A tenant connected before keeps its connection id and creation date, and gets a new update date and
        `auth_event_id`.
        """
        for tenant_id in tenant_ids:
            row = self._rows.get((user_id, tenant_id))
            if row is None:
                row = Connection(str(uuid4()), user_id, tenant_id, auth_event_id, now, now)
                self._rows[user_id, tenant_id] = row
            row.auth_event_id, row.updated, row.is_active = auth_event_id, now, True

    def list_of_user(self, user_id: str, auth_event_id: str | None = None) -> list[Connection]:
        """Return a user's active connections, or only those of one consent."""
        active = (row for row in self._rows.values() if row.user_id == user_id and row.is_active)
        return [row for row in active if auth_event_id in (None, row.auth_event_id)]

    def is_connected(self, user_id: str, tenant_id: str) -> bool:
        row = self._rows.get((user_id, tenant_id))
        return row is not None and row.is_active

    def remove(self, user_id: str, connection_id: str) -> bool:
        """Remove a connection; return False when this user has no such connection."""
        row = next((row for row in self.list_of_user(user_id) if row.id == connection_id.lower()), None)
        if row is not None:
            row.is_active = False
        return row is not None

    def remove_user(self, user_id: str) -> None:
        for row in self.list_of_user(user_id):
            row.is_active = False

    def remove_tenant(self, tenant_id: str) -> int:
        """Remove a tenant for every user, as when an administrator disconnects the app within Xero.

        Returns the number of connections removed.
        """
        rows = [row for row in self._rows.values() if row.tenant_id == tenant_id and row.is_active]
        for row in rows:
            row.is_active = False
        return len(rows)

    def list_all(self) -> list[Connection]:
        return [row for row in self._rows.values() if row.is_active]
