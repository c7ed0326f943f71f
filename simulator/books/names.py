"""Made-up names for a managed service provider's organisations, customers and suppliers."""

from random import Random

ORGANISATIONS = (
    ("Tasman IT Group Pty Ltd", "AU", "AUD"),
    ("Tasman IT New Zealand Ltd", "NZ", "NZD"),
    ("Tasman IT UK Limited", "GB", "GBP"),
    ("Tasman IT Americas Inc", "US", "USD"),
)
PRACTICES = (("Tasman Bookkeeping", "PRACTICE"), ("Tasman Practice Manager", "PRACTICEMANAGER"))
SUFFIXES = {"AU": "Pty Ltd", "NZ": "Ltd", "GB": "Limited", "US": "Inc"}
CITIES = {"AU": "Brisbane", "NZ": "Wellington", "GB": "Leeds", "US": "Portland"}
COUNTRIES = {"AU": "Australia", "NZ": "New Zealand", "GB": "United Kingdom", "US": "United States"}

# These companies are customers of several organisations, which may spell their names differently.
RECURRING = ("Harbour & Vine", "Kowhai Dental", "Northside Veterinary", "Atlas Freight", "Müller Optik")
VARIANTS = ("Harbour and Vine", "Kōwhai Dental", "Northside Vet.", "ATLAS FREIGHT", "Muller Optik")

_NAME_WORDS = ("Amber", "Birch", "Cobalt", "Drift", "Ember", "Fern", "Granite", "Heron", "Indigo", "Juniper", "Kestrel")
_TRADES = (
    "Legal",
    "Dental",
    "Brewing",
    "Roofing",
    "Logistics",
    "Studio",
    "Physio",
    "Motors",
    "Farms",
    "Books",
    "Foods",
)
_SUPPLIER_TRADES = (
    "Distribution",
    "Licensing",
    "Cloud Hosting",
    "Telecom",
    "Hardware",
    "Couriers",
    "Power",
    "Insurance",
)
_FIRST_NAMES = ("Ana", "Ben", "Chloe", "Dev", "Eru", "Freya", "Gus", "Hana", "Ivo", "June")
_LAST_NAMES = ("Adams", "Brown", "Chen", "Diaz", "Evans", "Fox", "Grant", "Hall", "Ito", "Jones")
SERVICES = (
    "Managed workstations, per seat",
    "Server care & patching",
    "Backup and disaster recovery",
    "Microsoft 365 licences",
    "Network monitoring",
    "On-site support, hours",
)
GOODS = ("Licence renewal", 'Notebook 14"', "Firewall appliance", "Data centre rack unit", "Freight")


def organisation_name(index: int) -> tuple[str, str, str]:
    """Return the name, country and base currency of the n-th organisation."""
    name, country, currency = ORGANISATIONS[index % len(ORGANISATIONS)]
    if index < len(ORGANISATIONS):
        return name, country, currency
    return f"{name} Branch {index // len(ORGANISATIONS):02d}", country, currency


def customer_name(index: int, country: str, rng: Random) -> str:
    """Return the name of an organisation's n-th customer: the recurring companies first, then its own."""
    if index < len(RECURRING):
        return rng.choice((f"{RECURRING[index]} {SUFFIXES[country]}", RECURRING[index], VARIANTS[index]))
    own = index - len(RECURRING)
    series = own // (len(_NAME_WORDS) * len(_TRADES))
    name = f"{_NAME_WORDS[own % len(_NAME_WORDS)]} {_TRADES[own // len(_NAME_WORDS) % len(_TRADES)]}"
    return f"{name} {series + 1}" if series else name


def supplier_name(index: int, country: str) -> str:
    """Return the name of an organisation's n-th supplier."""
    trade = _SUPPLIER_TRADES[index // len(_NAME_WORDS) % len(_SUPPLIER_TRADES)]
    name = f"{_NAME_WORDS[-1 - index % len(_NAME_WORDS)]} {trade}"
    series = index // (len(_NAME_WORDS) * len(_SUPPLIER_TRADES))
    return f"{name} {series + 1}" if series else f"{name} {SUFFIXES[country]}"


def person_name(rng: Random) -> tuple[str, str]:
    """Return a random first and last name."""
    return rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
