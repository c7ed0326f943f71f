"""A small Xero client for the simulator's own tests, written from Xero's documents alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from simulator.main import Simulator

CLIENT = ("SIMULATED-CLIENT", "simulated-secret")
CALLBACK = "http://localhost:8000/callback"
BROAD = "openid profile email offline_access accounting.transactions.read accounting.contacts.read"
GRANULAR = "openid offline_access accounting.invoices.read accounting.payments.read accounting.contacts.read"


class StillClock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Xero:
    """Signs in once and reads the first organisation unless told otherwise."""

    def __init__(self, http: httpx.AsyncClient, simulator: Simulator) -> None:
        self.http = http
        self.world = simulator.world
        self.tenant = next(iter(self.world.organisations))
        self.tokens: dict[str, Any] = {}

    @property
    def books(self):
        return self.world.organisations[self.tenant]

    async def authorize(self, scope: str = BROAD, **params: str) -> httpx.Response:
        query = {
            "response_type": "code",
            "client_id": CLIENT[0],
            "redirect_uri": CALLBACK,
            "scope": scope,
            "state": "s",
            "auto": "1",
        }
        return await self.http.get("/identity/connect/authorize", params=query | params)

    async def sign_in(self, scope: str = BROAD, **params: str) -> "Xero":
        response = await self.authorize(scope, **params)
        self.tokens = (await self.redeem(outcome_of(response)["code"])).json()
        return self

    async def redeem(self, code: str, **form: str) -> httpx.Response:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return await self.http.post("/connect/token", data=fields | form, auth=CLIENT)

    async def refresh(self, token: str | None = None) -> httpx.Response:
        fields = {"grant_type": "refresh_token", "refresh_token": token or self.tokens["refresh_token"]}
        return await self.http.post("/connect/token", data=fields, auth=CLIENT)

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.tokens.get('access_token', '')}",
            "Accept": "application/json",
            "xero-tenant-id": self.tenant,
        } | more

    async def get(self, path: str, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
        return await self.http.get(f"/api.xro/2.0/{path}", params=params, headers=self.headers(**(headers or {})))

    async def rows(self, resource: str, headers: dict[str, str] | None = None, **params: Any) -> list[dict[str, Any]]:
        """The rows of a list, paged at 1,000 unless paging is given or turned off with page=None."""
        query = {name: value for name, value in ({"page": 1, "pageSize": 1000} | params).items() if value is not None}
        response = await self.get(resource, headers, **query)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()[resource]
        return found

    async def row(self, resource: str, row_id: str) -> dict[str, Any]:
        response = await self.get(f"{resource}/{row_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()[resource][0]
        return found

    async def control(self, method: str, path: str, /, **body: Any) -> Any:
        response = await self.http.request(method, f"/_control{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def edit(self, edit: str, /, **fields: Any) -> list[dict[str, Any]]:
        """One edit; the rows it changed, plainly."""
        outcome = await self.control("POST", f"/tenants/{self.tenant}/edits", edit=edit, **fields)
        return [change["row"] for change in outcome["changes"]]

    async def connections(self, **params: str) -> list[dict[str, str]]:
        response = await self.http.get("/connections", params=params, headers=self.headers())
        assert response.status_code == 200, response.text
        found: list[dict[str, str]] = response.json()
        return found


def outcome_of(response: httpx.Response) -> dict[str, str]:
    """The query of the redirect back to the app."""
    assert response.status_code == 302, response.text
    return dict(httpx.URL(response.headers["location"]).params)


def sign_in_live(client: httpx.Client) -> dict[str, Any]:
    """The token response of a pretend Xero behind a socket that consents by itself."""
    query = {"response_type": "code", "client_id": CLIENT[0], "redirect_uri": CALLBACK, "scope": BROAD}
    answer = client.get("/identity/connect/authorize", params=query)
    form = {"grant_type": "authorization_code", "code": outcome_of(answer)["code"], "redirect_uri": CALLBACK}
    tokens: dict[str, Any] = client.post("/connect/token", data=form, auth=CLIENT).json()
    return tokens
