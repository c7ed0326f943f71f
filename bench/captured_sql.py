"""The statements that one request of the API executes, to be executed again with asyncpg alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event

from bench.environment import LocalService


@dataclass(frozen=True, slots=True)
class CapturedStatement:
    """One statement with the values it was executed with, one of which names the customer."""

    text: str
    values: tuple[Any, ...]
    customer_id: str

    def values_for(self, customer_id: str) -> tuple[Any, ...]:
        """Return the values for another customer."""
        return tuple(type(value)(customer_id) if str(value) == self.customer_id else value for value in self.values)


async def capture_statements(service: LocalService, path: str, customer_id: str) -> list[CapturedStatement]:
    """Request a path and return the statements that it executes. Raises RuntimeError when none was seen."""
    found: list[CapturedStatement] = []

    def record(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        found.append(CapturedStatement(statement, tuple(values) if isinstance(values, Sequence) else (), customer_id))

    engine = service.db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", record)
    try:
        await service.call("GET", path)
    finally:
        event.remove(engine, "before_cursor_execute", record)
    if not found:
        raise RuntimeError("The request executed no statement that could be seen, so there is no baseline.")
    return found


async def execute_captured(
    connection: "asyncpg.Connection[asyncpg.Record]", statements: Sequence[CapturedStatement], customer_id: str
) -> None:
    """Execute the statements for a customer, each on its own, and read every row."""
    for each in statements:
        await connection.fetch(each.text, *each.values_for(customer_id))
