"""A row of the benchmarks measures what it says, and fails where there was nothing to measure."""

from contextlib import aclosing

import pytest

from bench.captured_sql import capture_statements, execute_captured
from bench.context import Bench
from bench.database import DatabaseServer, connect, count_written_rows
from bench.environment import run_service
from bench.rows import alerts
from bench.seed import list_customer_ids
from bench.sizes import Sizes

SMALLEST = Sizes(
    repetitions=1,
    first_loads=(100,),
    invoices=2_000,
    few_invoices=1_000,
    quiet_organisations=1,
    many_organisations=1,
    few_organisations=1,
    memory_invoices=100,
    deliveries=1,
    requests=1,
)


@pytest.fixture
async def bench(postgres_server, template):
    async with aclosing(Bench(SMALLEST, DatabaseServer(postgres_server, None, template))) as bench:
        yield bench


async def test_alerts_are_measured_after_invoices_that_changed_them(bench):
    [compared] = await alerts.measure(bench)

    assert compared.theirs
    for samples in (compared.ours, compared.theirs):
        assert len(samples.values) == SMALLEST.repetitions
        assert min(samples.values) > 0
    many = await bench.seeded_database(SMALLEST.invoices)
    assert len(await list_customer_ids(many, 1_000)) == SMALLEST.invoices / 100
    assert await count_written_rows(many, "^billing_alerts$") > SMALLEST.invoices / 100

    async with run_service(many, alerts.NOWHERE) as service:
        await service.execute("UPDATE billing_alerts SET status = 'resolved'")
    with pytest.raises(RuntimeError, match="0 alerts are open for"):
        await alerts.require_alerts(many)


async def test_the_statements_of_a_request_can_be_executed_for_another_customer(bench):
    dsn = await bench.seeded_database(SMALLEST.few_invoices)
    first, second = await list_customer_ids(dsn, 2)
    async with run_service(dsn, alerts.NOWHERE) as service:
        statements = await capture_statements(service, f"/api/customers/{first}/billing", first)
    values = [value for each in statements for value in each.values_for(second)]

    assert second in map(str, values)
    assert first not in map(str, values)
    async with connect(dsn) as connection:
        await execute_captured(connection, statements, second)
