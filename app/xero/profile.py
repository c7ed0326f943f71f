"""Xero's limits, lifetimes, pricing tiers and scope sets, as its public pages gave them in November 2026."""

from datetime import timedelta
from types import MappingProxyType

from app.connector import VendorProfile
from app.xero.oauth import SCOPE_SETS

GIB = 1024**3

XERO_PROFILE = VendorProfile(
    name="Xero",
    # The four limits are those of the page "OAuth 2.0 API limits" on developer.xero.com. The day's 5,000 calls are
    # those of every tier but Starter, which has 1,000.
    requests_per_minute=60,
    requests_per_day=5000,
    concurrent_requests=5,
    app_requests_per_minute=10_000,
    # `pageSize` goes from 1 to 1,000 since 1 July 2024; Xero reduces a larger one without saying so.
    largest_page=1000,
    # 60 days from each use: the page "Token types" (documentation/guides/oauth2/token-types).
    refresh_token_lifetime=timedelta(days=60),
    # The page "Configuring your server" (documentation/webhooks/configuring-your-server).
    delivery_seconds=5.0,
    # The pricing page (developer.xero.com/pricing), since 2 March 2026. Its GB are GiB, and Starter is not metered.
    monthly_egress=MappingProxyType({"starter": None, "core": 10 * GIB, "plus": 50 * GIB, "advanced": 250 * GIB}),
    # The page "Granular scopes" (developer.xero.com/faq/granular-scopes).
    scope_sets=SCOPE_SETS,
)
