"""A pretend Xero in process with a clock that stands still, and one behind a socket for real clients."""

import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from simulator.main import Simulator, create_app, listen, make_server
from simulator.options import SimulatorOptions
from tests.simulator.client import StillClock, Xero, sign_in_live


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def options() -> SimulatorOptions:
    """Small books; tests that need others override this fixture or reset the world."""
    return SimulatorOptions(organisations=2, contacts=30, invoices=150, payments=110, credit_notes=14)


@pytest.fixture
def simulator(options: SimulatorOptions, clock: StillClock) -> Simulator:
    return create_app(options, clock)


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(simulator)
    async with httpx.AsyncClient(transport=transport, base_url="http://xero.test") as client:
        yield client


@pytest.fixture
def stranger(http: httpx.AsyncClient, simulator: Simulator) -> Xero:
    """A client that has not signed in."""
    return Xero(http, simulator)


@pytest.fixture
async def xero(stranger: Xero) -> Xero:
    return await stranger.sign_in()


@pytest.fixture(scope="module")
def live_url() -> Iterator[str]:
    """A pretend Xero on a socket of its own, consenting by itself."""
    options = SimulatorOptions(auto_consent=True, organisations=2, limits_enabled=False)
    server, listener = make_server(options), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def live(live_url: str) -> Iterator[httpx.Client]:
    """A client of the socket, signed in, on books made anew, with the first tenant in its headers."""
    with httpx.Client(base_url=live_url) as client:
        client.post("/_control/reset").raise_for_status()
        tenant_id = client.get("/_control/tenants").json()[0]["tenant_id"]
        token = sign_in_live(client)["access_token"]
        client.headers.update(
            {"Authorization": f"Bearer {token}", "Accept": "application/json", "xero-tenant-id": tenant_id}
        )
        yield client
