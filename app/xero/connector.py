"""The connector of Xero."""

from collections.abc import Sequence

import httpx

from app.billing.records import Resource
from app.connector import Access, AppCredentials, ConsentRequest, Notice, Organisation, Page, PageRequest, TokenSet
from app.xero import connections, oauth, pages, webhooks
from app.xero.profile import XERO_PROFILE


class XeroConnector:
    """Implements `app.connector.Connector` for Xero.

    Args:
        http: the connection pool; each request sets its own timeout.
        login_url: the address of the consent, `https://login.xero.com`.
        identity_url: the address of the token endpoint, `https://identity.xero.com`.
        api_url: the address of the accounting API, `https://api.xero.com`.
    """

    vendor = "xero"
    signature_header = "x-xero-signature"
    profile = XERO_PROFILE

    def __init__(self, http: httpx.AsyncClient, login_url: str, identity_url: str, api_url: str) -> None:
        self._http = http
        self._login_url = login_url.rstrip("/")
        self._identity_url = identity_url.rstrip("/")
        self._api_url = api_url.rstrip("/")

    def ids_per_read(self, resource: Resource) -> int:
        return pages.ids_per_read(resource)

    def scopes(self, scope_set: str) -> frozenset[str]:
        return frozenset(oauth.read_scope_set(scope_set))

    def missing_scopes(self, granted: frozenset[str]) -> frozenset[str]:
        return oauth.find_missing_scopes(granted)

    def scope_of(self, resource: Resource, scope_set: str) -> str:
        return oauth.find_scope_of(resource, scope_set)

    def authorization_url(self, request: ConsentRequest) -> str:
        return oauth.build_authorization_url(self._login_url, request)

    async def exchange_code(self, app: AppCredentials, code: str, redirect_uri: str, verifier: str) -> TokenSet:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return await oauth.request_tokens(self._http, self._identity_url, app, form)

    async def refresh(self, app: AppCredentials, refresh_token: str) -> TokenSet:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await oauth.request_tokens(self._http, self._identity_url, app, form)

    async def check_app(self, app: AppCredentials) -> None:
        await oauth.check_app(self._http, self._identity_url, app)

    async def revoke(self, app: AppCredentials, refresh_token: str) -> None:
        await oauth.revoke(self._http, self._identity_url, app, refresh_token)

    async def list_organisations(self, access_token: str) -> Sequence[Organisation]:
        return await connections.list_connections(self._http, self._api_url, access_token)

    async def fetch_page(self, access: Access, request: PageRequest) -> Page:
        return await pages.fetch_page(self._http, self._api_url, access, request)

    def read_notices(self, body: bytes, signatures: Sequence[bytes], keys: Sequence[str]) -> Sequence[Notice]:
        return webhooks.read_notices(body, signatures, keys)
