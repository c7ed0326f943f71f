"""Distinct webhook deliveries per second over 32 kept-alive connections, beside a bare receiver, and their latency."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.bare_receiver import run_bare_receiver
from bench.context import Bench, tell
from bench.delivery_load import DeliveryLoad, send_from_another_process
from bench.environment import serve
from bench.pretend_xero import run_pretend_xero
from bench.processes import Cost, measure_cost
from bench.result import Comparison, Relation, Samples, Target, percentile

NAME = "webhooks"
CONNECTIONS = 32
BARE = "a bare receiver"
TARGET, P99_TARGET = Target(0.5, 0.8), Target(0.1, is_higher_better=False)
FEW_ROWS = {"contacts": 5, "invoices": 10, "payments": 5, "credit_notes": 1}
NOTE = (
    "One event a delivery, of a picked organisation. Both receivers are one process of uvicorn with uvloop and "
    "httptools, and answer after the commit. The service's worker does not run, so no event is processed meanwhile."
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One repetition."""

    load: DeliveryLoad
    cost: Cost

    @property
    def rate(self) -> float:
        return self.load.stored / self.load.seconds

    def latency(self, percent: int) -> float:
        return percentile(self.load.latencies, percent)


async def measure(bench: Bench) -> list[Comparison]:
    """Send to both in turn; the first repetition only warms up."""
    ours: list[Sent] = []
    bare: list[Sent] = []
    with run_pretend_xero({"organisations": 1, **FEW_ROWS}) as xero:
        async with (
            bench.postgres.database() as dsn,
            serve(dsn, xero.url, scheduler_enabled=False) as service,
            run_bare_receiver(dsn) as (bare_port, bare_pid),
        ):
            [tenant_id] = await service.connect()
            await service.select([tenant_id])
            port = service.client.base_url.port or 0
            for number in range(bench.sizes.repetitions + 1):
                tell(f"repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
                bare.append(await _send(bench, bare_port, bare_pid, tenant_id))
                ours.append(await _send(bench, port, service.pid, tenant_id))
    return _compare(ours[1:], bare[1:])


async def _send(bench: Bench, port: int, pid: int, tenant_id: str) -> Sent:
    with measure_cost(pid, bench.postgres.postmaster) as cost:
        load = await send_from_another_process(port, CONNECTIONS, bench.sizes.deliveries, tenant_id)
    return Sent(load, cost)


def _compare(ours: Sequence[Sent], bare: Sequence[Sent]) -> list[Comparison]:
    rate = Comparison(
        row=NAME,
        what=f"webhook deliveries, {CONNECTIONS} connections",
        ours=Samples.of((sent.rate for sent in ours), "/s"),
        beside=BARE,
        theirs=Samples.of((sent.rate for sent in bare), "/s"),
        target=TARGET,
        our_cpu=tuple(sent.cost.cpu for sent in ours),
        their_cpu=tuple(sent.cost.cpu for sent in bare),
        note=NOTE,
    )
    latencies = [
        Comparison(
            row=NAME,
            what=f"  their latency, p{percent}",
            ours=Samples.of((sent.latency(percent) for sent in ours), "s"),
            beside=BARE,
            theirs=Samples.of((sent.latency(percent) for sent in bare), "s"),
            relation=Relation.ITSELF,
            target=target,
        )
        for percent, target in ((50, None), (99, P99_TARGET))
    ]
    refused = Comparison(
        row=NAME,
        what="  deliveries that were refused",
        ours=Samples.of((sent.load.refused for sent in ours), "of them"),
        beside=BARE,
        theirs=Samples.of((sent.load.refused for sent in bare), "of them"),
        relation=Relation.ITSELF,
        target=Target(0, is_higher_better=False),
    )
    return [rate, *latencies, refused]
