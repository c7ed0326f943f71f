"""Generates organisations with two years of made-up books; the same seed and time give the same books."""

from random import Random
from uuid import UUID

from simulator.books import names
from simulator.books.document_factory import DocumentFactory
from simulator.books.history import SUPPLIER_EVERY, HistoryGenerator, is_supplier
from simulator.books.model import Contact
from simulator.books.organisation import Organisation
from simulator.clock import DAY_MS
from simulator.options import SimulatorOptions

_YEARS_MS = 730 * DAY_MS
_ARCHIVED_EVERY = 17
_NUMBERED_EVERY = 3
_CONTACTS_WITHIN = 0.97  # The last contact was updated three weeks ago; documents are updated up to now.


def generate_organisations(options: SimulatorOptions, now: int) -> dict[str, Organisation]:
    """Return all tenants by id, practices last.

    Every timestamp lies in the two years before `now` (milliseconds since 1970).
    """
    organisations = [_generate(options, index, now) for index in range(options.organisations)]
    practices = [_practice(options, index) for index in range(options.practices)]
    return {organisation.tenant_id: organisation for organisation in (*organisations, *practices)}


def _generate(options: SimulatorOptions, index: int, now: int) -> Organisation:
    rng = Random(f"{options.seed}/{index}")  # noqa: S311 - made-up books need repeatable random numbers
    name, country, currency = names.organisation_name(index)
    tenant_id = str(UUID(int=rng.getrandbits(128), version=4))
    organisation = Organisation(tenant_id=tenant_id, name=name, country=country, currency=currency)
    organisation.contacts.add_many(
        _contact(organisation, rng, number, options, now) for number in range(options.contacts)
    )
    if options.contacts:
        HistoryGenerator(DocumentFactory(organisation, rng, start=now - _YEARS_MS, now=now)).generate(options)
    return organisation


def _practice(options: SimulatorOptions, index: int) -> Organisation:
    rng = Random(f"{options.seed}/practice/{index}")  # noqa: S311 - made-up books need repeatable random numbers
    name, tenant_type = names.PRACTICES[index % len(names.PRACTICES)]
    tenant_id = str(UUID(int=rng.getrandbits(128), version=4))
    return Organisation(tenant_id=tenant_id, name=name, tenant_type=tenant_type)


def _contact(organisation: Organisation, rng: Random, number: int, options: SimulatorOptions, now: int) -> Contact:
    """Return a contact that is neither customer nor supplier yet: as at Xero, its documents make it one."""
    name = (
        names.supplier_name(number // SUPPLIER_EVERY, organisation.country)
        if is_supplier(number)
        else names.customer_name(number - number // SUPPLIER_EVERY, organisation.country, rng)
    )
    first, last = names.person_name(rng)
    spread = (number + rng.random()) / options.contacts * _CONTACTS_WITHIN
    return Contact(
        id=str(UUID(int=rng.getrandbits(128), version=4)),
        updated_at=now - _YEARS_MS + int(spread * _YEARS_MS),
        name=name,
        first_name=first,
        last_name=last,
        email=f"accounts{number}@{''.join(c for c in name.lower() if c.isascii() and c.isalnum())}.example",
        account_number=f"C{number:04d}" if number % _NUMBERED_EVERY == 0 else None,
        phone=f"{rng.randrange(100, 999)}-{rng.randrange(1000, 9999)}",
        city=names.CITIES[organisation.country],
        country=names.COUNTRIES[organisation.country],
        status="ARCHIVED" if number % _ARCHIVED_EVERY == _ARCHIVED_EVERY - 1 else "ACTIVE",
    )
