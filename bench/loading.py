"""Loading an organisation for the first time: with the service, with a peer, and with COPY."""

import asyncio
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.context import Bench
from bench.database import connect, plain_dsn
from bench.environment import LocalService
from bench.pretend_xero import PretendXero
from bench.processes import Cost, measure_cost

PEERS = Path(__file__).parent / "peers"
PEERS_PYTHON = Path(".bench-venv/bin/python")
# What the service asks of each list, so that peers read the same rows.
LIST_QUERIES: Mapping[str, Mapping[str, str]] = {
    "Contacts": {"includeArchived": "true"},
    "Invoices": {"where": 'Type=="ACCREC"', "summaryOnly": "true"},
    "CreditNotes": {"where": 'Type=="ACCRECCREDIT"'},
    "Payments": {"where": 'PaymentType=="ACCRECPAYMENT"'},
}


@dataclass(frozen=True, slots=True)
class Load:
    """One first load: the rows that were read, the calls they took, and what it cost."""

    rows: int
    calls: int
    cost: Cost

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.cost.seconds


async def load_first(bench: Bench, service: LocalService, tenant_id: str) -> Load:
    """Pick an organisation that was never synced, and do its first run to the end."""
    with measure_cost(os.getpid(), bench.postgres.postmaster) as cost:
        await service.select([tenant_id])
        await service.work()
    return await describe_load(service, cost)


async def describe_load(service: LocalService, cost: Cost) -> Load:
    """Return what the newest run read. Raises RuntimeError where it did not succeed, so that nothing is compared."""
    [run] = (await service.call("GET", "/api/integrations/xero/runs?limit=1")).json()["items"]
    if run["status"] != "succeeded":
        raise RuntimeError(f"The run ended as {run['status']}: {run['error']}")
    resources = run["resources"]
    return Load(sum(each["fetched"] for each in resources), sum(each["calls"] for each in resources), cost)


async def run_peer(bench: Bench, program: str, service: LocalService, tenant_id: str) -> Load:
    """Load the same lists with a peer into a database of its own. Raises RuntimeError with what it wrote."""
    if not await asyncio.to_thread(PEERS_PYTHON.exists):
        raise RuntimeError(f"{PEERS_PYTHON} is missing; `make bench` installs the peers.")
    async with bench.postgres.database() as dsn:
        headers = await service.xero_headers(tenant_id)
        task = {"url": service.xero_url, "dsn": plain_dsn(dsn), "headers": headers, "queries": LIST_QUERIES}
        with measure_cost(os.getpid(), bench.postgres.postmaster) as cost:
            answer = await _run(PEERS / program, json.dumps(task))
    cost.seconds, cost.cpu = answer["seconds"], answer["cpu"]
    return Load(int(answer["rows"]), 0, cost)


async def copy_invoices(dsn: str) -> Load:
    """COPY the invoices of a database into an empty table with the same columns, constraints and indexes."""
    async with connect(dsn) as connection:
        rows = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM billing_invoices", output=rows, format="binary")
        await connection.execute("CREATE TABLE copied_invoices (LIKE billing_invoices INCLUDING ALL)")
        rows.seek(0)
        with measure_cost(os.getpid()) as cost:
            await connection.copy_to_table("copied_invoices", source=rows, format="binary")
        count = await connection.fetchval("SELECT count(*) FROM copied_invoices")
    return Load(int(count), 0, cost)


async def warm_up(xero: PretendXero, bench: Bench, *programs: str) -> None:
    """Load once with the service and once with each peer, so that every page is in the pretend Xero's memory."""
    async with bench.fresh_service(xero) as (service, _):
        for tenant_id in await service.connect():
            await load_first(bench, service, tenant_id)
            for program in programs:
                await run_peer(bench, program, service, tenant_id)


async def _run(program: Path, task: str) -> Mapping[str, float]:
    process = await asyncio.create_subprocess_exec(
        str(PEERS_PYTHON), str(program), task, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{program.name} failed: {errors.decode()[-2000:]}")
    answer: Mapping[str, float] = json.loads(output.decode().splitlines()[-1])
    return answer
