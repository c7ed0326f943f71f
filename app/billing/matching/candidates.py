"""Which customers a contact could stand for, how likely each is, and what speaks for it. Nothing is decided here.

Each signal is a piece of evidence of its own, and they add up as such: a score is one minus the chance that all of them
mislead. Names are compared by their keys, so case, accents and legal forms never count against a pair.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from uuid import UUID

from rapidfuzz import fuzz

SAME_NAME = "same_name"
SIMILAR_NAME = "similar_name"
EMAIL_DOMAIN = "email_domain"
SAME_NAME_ELSEWHERE = "same_name_in_other_organisation"

# What a name alone, a mail domain alone and a namesake elsewhere are worth; equal names can still be two companies.
NAME_WEIGHT = 0.9
EMAIL_WEIGHT = 0.6
ELSEWHERE_WEIGHT = 0.5
SIMILAR_FROM = 0.8
# One name holding all words of the other is likely, and less than certain.
CONTAINED = 0.92

MOST = 5
PREFIX = 4
SHORTEST_WORD = 3
# A word that so many customers carry says nothing about any of them.
COMMON_WORD = 50

PUBLIC_MAIL = frozenset(
    {"gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "hotmail.co.uk", "hotmail.co.nz", "live.com"}
    | {"live.com.au", "live.co.uk", "msn.com", "yahoo.com", "yahoo.co.uk", "yahoo.co.nz", "yahoo.com.au", "ymail.com"}
    | {"icloud.com", "me.com", "mac.com", "aol.com", "proton.me", "protonmail.com", "gmx.com", "gmx.net", "gmx.de"}
    | {"web.de", "mail.com", "mail.ru", "yandex.ru", "zoho.com", "fastmail.com", "xtra.co.nz", "bigpond.com"}
    | {"bigpond.net.au", "optusnet.com.au", "iinet.net.au", "btinternet.com", "sky.com", "virginmedia.com"}
    | {"comcast.net", "verizon.net", "att.net", "sbcglobal.net", "cox.net", "orange.fr", "free.fr", "qq.com"}
)


@dataclass(frozen=True, slots=True)
class Contact:
    """The side that is asked about; `customer_id` is where it stands now and is never proposed."""

    link_id: UUID
    name_key: str
    email: str | None
    customer_id: UUID


@dataclass(frozen=True, slots=True)
class CandidateCustomer:
    """A customer that may be proposed, under one of the names it is known by."""

    customer_id: UUID
    name: str
    name_key: str
    email: str | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal; `score` lies between 0 and 1, `signals` name the evidence, strongest first."""

    customer_id: UUID
    name: str
    score: float
    signals: tuple[str, ...]


class CandidateIndex:
    """The customers that may be proposed, found by what a contact has in common with them."""

    def __init__(self, prospects: Iterable[CandidateCustomer]) -> None:
        self._by_id = {prospect.customer_id: prospect for prospect in prospects}
        self._by_trait: dict[tuple[str, str], list[UUID]] = defaultdict(list)
        for prospect in self._by_id.values():
            for trait in _blocking_keys(prospect.name_key, prospect.email):
                self._by_trait[trait].append(prospect.customer_id)

    def rank(self, contact: Contact, elsewhere: Mapping[UUID, str]) -> list[Candidate]:
        """Return the likeliest customers, best first.

        Args:
            contact: whom they are for.
            elsewhere: the customers of namesakes in other organisations, and their names.
        """
        found = [self._judge(contact, customer_id, elsewhere) for customer_id in self._near(contact) | set(elsewhere)]
        proposed = [one for one in found if one is not None and one.customer_id != contact.customer_id]
        return sorted(proposed, key=lambda one: (-one.score, one.name, str(one.customer_id)))[:MOST]

    def _near(self, contact: Contact) -> set[UUID]:
        near: set[UUID] = set()
        for trait in _blocking_keys(contact.name_key, contact.email):
            sharing = self._by_trait.get(trait, ())
            if len(sharing) <= COMMON_WORD or trait[0] == "name":
                near.update(sharing)
        return near

    def _judge(self, contact: Contact, customer_id: UUID, elsewhere: Mapping[UUID, str]) -> Candidate | None:
        evidence: dict[str, float] = {}
        prospect = self._by_id.get(customer_id)
        if prospect is not None:
            evidence = _score_evidence(contact, prospect)
        if customer_id in elsewhere:
            evidence[SAME_NAME_ELSEWHERE] = ELSEWHERE_WEIGHT
        if not evidence:
            return None
        name = prospect.name if prospect is not None else elsewhere[customer_id]
        score = round(1 - prod(1 - weight for weight in evidence.values()), 2)
        return Candidate(customer_id, name, score, tuple(sorted(evidence, key=lambda signal: -evidence[signal])))


def compare_names(one: str, other: str) -> float:
    """Say how alike two keys are, from 0 to 1, whatever the order of their words and the spaces between them."""
    joined = fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))
    return max(fuzz.token_sort_ratio(one, other), fuzz.token_set_ratio(one, other) * CONTAINED, joined) / 100


def mail_domain(email: str | None) -> str | None:
    """Return the domain of an address that belongs to its owner's company, or None."""
    domain = (email or "").rpartition("@")[2].strip().lower()
    return domain if "." in domain and domain not in PUBLIC_MAIL else None


def _score_evidence(contact: Contact, prospect: CandidateCustomer) -> dict[str, float]:
    evidence: dict[str, float] = {}
    likeness = compare_names(contact.name_key, prospect.name_key) if contact.name_key else 0.0
    if contact.name_key and contact.name_key == prospect.name_key:
        evidence[SAME_NAME] = NAME_WEIGHT
    elif likeness >= SIMILAR_FROM:
        evidence[SIMILAR_NAME] = round(NAME_WEIGHT * likeness, 4)
    domain = mail_domain(contact.email)
    if domain is not None and domain == mail_domain(prospect.email):
        evidence[EMAIL_DOMAIN] = EMAIL_WEIGHT
    return evidence


def _blocking_keys(name_key: str, email: str | None) -> Sequence[tuple[str, str]]:
    """Return what two alike companies share at least one of, so that not every pair has to be compared."""
    words = {word for word in name_key.split() if len(word) >= SHORTEST_WORD}
    traits = [("word", word) for word in words]
    if name_key:
        traits += [("name", name_key), ("start", name_key.replace(" ", "")[:PREFIX])]
    domain = mail_domain(email)
    return [*traits, ("domain", domain)] if domain else traits
