"""Ranking the customers that a contact could belong to: how likely each is, and which signals speak for it.

Each signal is independent evidence of a weight between 0 and 1; the score of a customer is one minus the probability
that all of its signals mislead. Names are compared by their keys, so case, accents and legal forms make no difference;
a short form that may be something else, such as SA, weighs a little and is named.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from uuid import UUID

from rapidfuzz import fuzz

from app.billing.matching.name_key import match_key, remove_short_forms


class Signal(StrEnum):
    """A piece of evidence that a contact belongs to a customer.

    `short_legal_form_differs`: the names are equal but for a word at the end, such as SA, that is a legal form or means
    something else, such as a region or a trade.
    """

    SAME_NAME = "same_name"
    SHORT_LEGAL_FORM_DIFFERS = "short_legal_form_differs"
    SIMILAR_NAME = "similar_name"
    EMAIL_DOMAIN = "email_domain"
    SAME_NAME_ELSEWHERE = "same_name_in_other_organisation"


# The weights of the signals. Equal names weigh less than 1, because two companies can have the same name.
NAME_WEIGHT = 0.9
SHORT_FORM_WEIGHT = 0.85
EMAIL_WEIGHT = 0.6
ELSEWHERE_WEIGHT = 0.5
# The similarity, from 0 to 1, from which two names count as similar.
MIN_SIMILARITY = 0.8
# The similarity of two names of which one contains all words of the other: likely the same company, but not certainly.
CONTAINED_SIMILARITY = 0.92

MAX_CANDIDATES = 5
PREFIX_LENGTH = 4
MIN_WORD_LENGTH = 3
# A blocking key that more customers share than this is not looked up: it is no evidence, and would compare them all.
COMMON_KEY_LIMIT = 50

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
    """The contact that candidates are looked for; `customer_id` is its present customer, which is never a candidate."""

    link_id: UUID
    name: str
    name_key: str
    email: str | None
    customer_id: UUID


@dataclass(frozen=True, slots=True)
class CandidateCustomer:
    """A customer of the PSA that may become a candidate."""

    customer_id: UUID
    name: str
    name_key: str
    email: str | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A customer that a contact could belong to; `score` is from 0 to 1, the strongest of `signals` comes first."""

    customer_id: UUID
    name: str
    score: float
    signals: tuple[Signal, ...]


class CandidateIndex:
    """The customers that may become candidates, indexed by blocking keys so that not every pair is compared."""

    def __init__(self, customers: Iterable[CandidateCustomer]) -> None:
        self._by_id = {customer.customer_id: customer for customer in customers}
        self._by_blocking_key: dict[tuple[str, str], list[UUID]] = defaultdict(list)
        for customer in self._by_id.values():
            for key in _blocking_keys(customer.name_key, customer.email):
                self._by_blocking_key[key].append(customer.customer_id)

    def rank(self, contact: Contact, same_name_elsewhere: Mapping[UUID, str]) -> list[Candidate]:
        """Return the best candidates, best first, at most `MAX_CANDIDATES`.

        Args:
            contact: the contact they are for.
            same_name_elsewhere: the customers, id to name, of contacts of the same name in other tenants.
        """
        customer_ids = self._find_similar(contact) | set(same_name_elsewhere)
        found = [self._evaluate(contact, customer_id, same_name_elsewhere) for customer_id in customer_ids]
        candidates = [one for one in found if one is not None and one.customer_id != contact.customer_id]
        return sorted(candidates, key=lambda one: (-one.score, one.name, str(one.customer_id)))[:MAX_CANDIDATES]

    def _find_similar(self, contact: Contact) -> set[UUID]:
        """Return the customers that share a blocking key with the contact."""
        similar: set[UUID] = set()
        for key in _blocking_keys(contact.name_key, contact.email):
            sharing = self._by_blocking_key.get(key, ())
            if len(sharing) <= COMMON_KEY_LIMIT or key[0] == "name":
                similar.update(sharing)
        return similar

    def _evaluate(
        self, contact: Contact, customer_id: UUID, same_name_elsewhere: Mapping[UUID, str]
    ) -> Candidate | None:
        customer = self._by_id.get(customer_id)
        weights = _score_evidence(contact, customer) if customer is not None else {}
        if customer_id in same_name_elsewhere:
            weights[Signal.SAME_NAME_ELSEWHERE] = ELSEWHERE_WEIGHT
        if not weights:
            return None
        name = customer.name if customer is not None else same_name_elsewhere[customer_id]
        score = round(1 - prod(1 - weight for weight in weights.values()), 2)
        return Candidate(customer_id, name, score, tuple(sorted(weights, key=lambda signal: -weights[signal])))


def compare_names(one: str, other: str) -> float:
    """Return how similar two name keys are, from 0 to 1; the order of words and the spaces between do not matter."""
    joined = fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))
    contained = fuzz.token_set_ratio(one, other) * CONTAINED_SIMILARITY
    return max(fuzz.token_sort_ratio(one, other), contained, joined) / 100


def mail_domain(email: str | None) -> str | None:
    """Return the domain of an address that is a company's own, or None for a public mail provider's or no domain."""
    domain = (email or "").rpartition("@")[2].strip().lower()
    return domain if "." in domain and domain not in PUBLIC_MAIL else None


def _score_evidence(contact: Contact, customer: CandidateCustomer) -> dict[Signal, float]:
    """Return the weight of each signal that a contact and a customer share."""
    weights = _score_names(contact, customer) if contact.name_key else {}
    domain = mail_domain(contact.email)
    if domain is not None and domain == mail_domain(customer.email):
        weights[Signal.EMAIL_DOMAIN] = EMAIL_WEIGHT
    return weights


def _score_names(contact: Contact, customer: CandidateCustomer) -> dict[Signal, float]:
    """Return the weight of the one signal that the names give, if they give one."""
    if remove_short_forms(contact.name_key) == remove_short_forms(customer.name_key):
        if match_key(contact.name) == match_key(customer.name):
            return {Signal.SAME_NAME: NAME_WEIGHT}
        return {Signal.SHORT_LEGAL_FORM_DIFFERS: SHORT_FORM_WEIGHT}
    similarity = compare_names(contact.name_key, customer.name_key)
    return {Signal.SIMILAR_NAME: round(NAME_WEIGHT * similarity, 4)} if similarity >= MIN_SIMILARITY else {}


def _blocking_keys(name_key: str, email: str | None) -> Sequence[tuple[str, str]]:
    """Return the (kind, value) keys of a company; two similar companies share at least one of them."""
    words = {word for word in name_key.split() if len(word) >= MIN_WORD_LENGTH}
    keys = [("word", word) for word in words]
    if name_key:
        keys += [("name", remove_short_forms(name_key)), ("start", name_key.replace(" ", "")[:PREFIX_LENGTH])]
    domain = mail_domain(email)
    return [*keys, ("domain", domain)] if domain else keys
