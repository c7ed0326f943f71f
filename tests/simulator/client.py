"""A small Xero client for the tests of the simulator, written from Xero's documentation only."""

from typing import Any

import httpx

from simulator.main import Simulator

CLIENT = ("SIMULATED-CLIENT", "simulated-secret")
CALLBACK = "http://localhost:8000/callback"
RESOURCES = ("Contacts", "Invoices", "Payments", "CreditNotes")
BROAD = "openid profile email offline_access accounting.transactions.read accounting.contacts.read"
GRANULAR = "openid offline_access accounting.invoices.read accounting.payments.read accounting.contacts.read"


class XeroClient:
    """A client of the simulator in process; it reads the first organisation unless `tenant` is changed."""

    def __init__(self, http: httpx.AsyncClient, simulator: Simulator) -> None:
        self.http = http
        self.state = simulator.simulator_state
        self.tenant = next(iter(self.state.organisations))
        self.tokens: dict[str, Any] = {}

    @property
    def books(self):
        return self.state.organisations[self.tenant]

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

    async def sign_in(self, scope: str = BROAD, **params: str) -> "XeroClient":
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
        """Return the rows of a list, by default its first page of 1,000; a parameter of None is left out."""
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
        """Make one edit and return the rows it changed, as the control API represents them."""
        outcome = await self.control("POST", f"/tenants/{self.tenant}/edits", edit=edit, **fields)
        return [change["row"] for change in outcome["changes"]]

    async def connections(self, **params: str) -> list[dict[str, str]]:
        response = await self.http.get("/connections", params=params, headers=self.headers())
        assert response.status_code == 200, response.text
        found: list[dict[str, str]] = response.json()
        return found


def outcome_of(response: httpx.Response) -> dict[str, str]:
    """Return the query parameters of the redirect back to the app."""
    assert response.status_code == 302, response.text
    return dict(httpx.URL(response.headers["location"]).params)


def sign_in_over_socket(client: httpx.Client) -> dict[str, Any]:
    """Sign in to a simulator on a socket that consents automatically; return the token response."""
    query = {"response_type": "code", "client_id": CLIENT[0], "redirect_uri": CALLBACK, "scope": BROAD}
    response = client.get("/identity/connect/authorize", params=query)
    form = {"grant_type": "authorization_code", "code": outcome_of(response)["code"], "redirect_uri": CALLBACK}
    tokens: dict[str, Any] = client.post("/connect/token", data=form, auth=CLIENT).json()
    return tokens
