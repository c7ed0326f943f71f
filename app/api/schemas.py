"""Field types shared by the response models (money, rates, links, ids, dates), and their base class."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from app.api.deps import Services
from app.billing.summary import BillingDay

MIN_DECIMALS = 2


def format_money(amount: Decimal) -> str:
    """Return an amount as an exact decimal string with at least two decimals: 1234.5 is `1234.50`, 0.125 is `0.125`."""
    whole, _, fraction = format(amount, "f").partition(".")
    text = f"{whole}.{fraction.rstrip('0').ljust(MIN_DECIMALS, '0')}"
    return text.removeprefix("-") if not amount else text


def format_rate(rate: Decimal) -> str:
    """Return an exchange rate as a decimal string without an exponent."""
    return format(rate, "f")


def keep_web_link(link: object) -> str | None:
    """Return a link that is an http(s) URL, else None: other writers fill these rows, and browsers follow the link."""
    return link if isinstance(link, str) and link.startswith(("https://", "http://")) else None


# An instant outside of these is a mistake; those at the ends of the calendar cannot be converted to another time zone.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)

MONEY_SCHEMA = {"type": "string", "pattern": r"^-?\d+\.\d{2,}$", "examples": ["1234.50"]}
RATE_SCHEMA = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["1.0825"]}

Money = Annotated[
    Decimal, PlainSerializer(format_money, return_type=str), WithJsonSchema(MONEY_SCHEMA, "serialization")
]
Rate = Annotated[Decimal, PlainSerializer(format_rate, return_type=str), WithJsonSchema(RATE_SCHEMA, "serialization")]
WebLink = Annotated[str | None, BeforeValidator(keep_web_link), Field(examples=["https://go.xero.com/…"])]
Currency = Annotated[str, Field(description="ISO 4217.", examples=["NZD"])]
Source = Annotated[str, Field(description="The vendor the row is of.", examples=["xero", "quickbooks"])]
TenantId = Annotated[str, Field(validation_alias="source_tenant_id", description="The organisation at the vendor.")]
Instant = Annotated[datetime, Field(examples=["2026-11-23T10:15:00Z"])]
GivenInstant = Annotated[AwareDatetime, Field(ge=EARLIEST, lt=LATEST, examples=["2026-11-23T10:15:00Z"])]
Day = Annotated[date, Field(examples=["2026-11-30"])]
Id = Annotated[UUID, Field(examples=["0b9a7c0e-6a0f-4a52-8f7a-9f2c2f6f6d3e"])]


class ResponseModel(BaseModel):
    """The base of the response models: reads its fields from rows, and documents every field as always present."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class Amount(ResponseModel):
    """An amount in one currency."""

    currency: Currency
    amount: Money


class OpenAlerts(ResponseModel):
    """How many alerts are open, by severity."""

    critical: int
    warning: int
    info: int


def billing_day(services: Services) -> BillingDay:
    """Return the present day and month in `BILLING_TIMEZONE`."""
    return BillingDay.at(services.clock.now(), services.settings.billing_timezone)
