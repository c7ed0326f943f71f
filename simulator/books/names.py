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

# The same companies are customers of several organisations, written as each bookkeeper writes them.
RECURRING = ("Harbour & Vine", "Kowhai Dental", "Northside Veterinary", "Atlas Freight", "Müller Optik")
VARIANTS = ("Harbour and Vine", "Kōwhai Dental", "Northside Vet.", "ATLAS FREIGHT", "Muller Optik")

_FIRST = ("Amber", "Birch", "Cobalt", "Drift", "Ember", "Fern", "Granite", "Heron", "Indigo", "Juniper", "Kestrel")
_SECOND = (
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
_SUPPLY = ("Distribution", "Licensing", "Cloud Hosting", "Telecom", "Hardware", "Couriers", "Power", "Insurance")
_PEOPLE = ("Ana", "Ben", "Chloe", "Dev", "Eru", "Freya", "Gus", "Hana", "Ivo", "June")
_FAMILIES = ("Adams", "Brown", "Chen", "Diaz", "Evans", "Fox", "Grant", "Hall", "Ito", "Jones")
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
    """Name, country and base currency of the n-th organisation."""
    name, country, currency = ORGANISATIONS[index % len(ORGANISATIONS)]
    if index < len(ORGANISATIONS):
        return name, country, currency
    return f"{name} Branch {index // len(ORGANISATIONS):02d}", country, currency


def company_name(index: int, country: str, rng: Random) -> str:
    """The n-th customer of an organisation: first the recurring ones, then its own."""
    if index < len(RECURRING):
        return rng.choice((f"{RECURRING[index]} {SUFFIXES[country]}", RECURRING[index], VARIANTS[index]))
    own = index - len(RECURRING)
    series = own // (len(_FIRST) * len(_SECOND))
    name = f"{_FIRST[own % len(_FIRST)]} {_SECOND[own // len(_FIRST) % len(_SECOND)]}"
    return f"{name} {series + 1}" if series else name


def supplier_name(index: int, country: str) -> str:
    name = f"{_FIRST[-1 - index % len(_FIRST)]} {_SUPPLY[index // len(_FIRST) % len(_SUPPLY)]}"
    series = index // (len(_FIRST) * len(_SUPPLY))
    return f"{name} {series + 1}" if series else f"{name} {SUFFIXES[country]}"


def person(rng: Random) -> tuple[str, str]:
    return rng.choice(_PEOPLE), rng.choice(_FAMILIES)
