"""Fixtures: a simulator in process with a manual clock, a simulator on a socket, and clients of both."""

import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from simulator.main import Simulator, create_app, listen, make_server
from simulator.options import SimulatorOptions
from tests.simulator.client import XeroClient, sign_in_over_socket
from tests.simulator.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def options() -> SimulatorOptions:
    """Options for small books; tests that need others override this fixture or reset the simulator."""
    return SimulatorOptions(organisations=2, contacts=30, invoices=150, payments=110, credit_notes=14)


@pytest.fixture
def simulator(options: SimulatorOptions, clock: ManualClock) -> Simulator:
    return create_app(options, clock)


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(simulator)
    async with httpx.AsyncClient(transport=transport, base_url="http://xero.test") as client:
        yield client


@pytest.fixture
def anonymous(http: httpx.AsyncClient, simulator: Simulator) -> XeroClient:
    """A client that has not signed in."""
    return XeroClient(http, simulator)


@pytest.fixture
async def xero(anonymous: XeroClient) -> XeroClient:
    """A client that has signed in with the broad scopes."""
    return await anonymous.sign_in()


@pytest.fixture
async def contact_id(xero: XeroClient) -> str:
    """The id of a contact that the generated books contain."""
    row_id: str = (await xero.rows("Contacts"))[0]["ContactID"]
    return row_id


@pytest.fixture(scope="module")
def live_url() -> Iterator[str]:
    """The address of a simulator on a socket, which consents automatically."""
    options = SimulatorOptions(auto_consent=True, organisations=2, limits_enabled=False)
    server, listener = make_server(options), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def live_client(live_url: str) -> Iterator[httpx.Client]:
    """A signed-in client of the simulator on a socket, after a reset, with the first tenant in its headers."""
    with httpx.Client(base_url=live_url) as client:
        client.post("/_control/reset").raise_for_status()
        tenant_id = client.get("/_control/tenants").json()[0]["tenant_id"]
        token = sign_in_over_socket(client)["access_token"]
        client.headers.update(
            {"Authorization": f"Bearer {token}", "Accept": "application/json", "xero-tenant-id": tenant_id}
        )
        yield client
