"""The choice of a grant: through which of the grants that reach a tenant it is read, and which one is to be renewed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.connections.states import GrantState


@dataclass(frozen=True, slots=True)
class Candidate:
    """One grant as the choice for one tenant sees it.

    Attributes:
        state: one of `GrantState`.
        missing_scopes: the scopes the pull needs and the grant does not hold.
        connected_at: when its user last consented.
        refresh_expires_at: when its refresh token expires unless it is used.
        is_listed: whether the vendor listed the tenant for the grant when it was last asked.
        is_refused: whether the vendor has lately refused the grant a call for the tenant.
        connection_id: the vendor's id of the connection.
        consent_id: the vendor's id of the consent that made the connection.
    """

    grant_id: UUID
    state: str
    scope_set: str
    missing_scopes: frozenset[str]
    connected_at: datetime
    refresh_expires_at: datetime | None = None
    is_listed: bool = True
    is_refused: bool = False
    connection_id: str = ""
    consent_id: str | None = None

    @property
    def is_living(self) -> bool:
        """Whether calls for the tenant may be made with the grant."""
        return self.is_listed and self.state == GrantState.ACTIVE


def choose_grant(
    candidates: Iterable[Candidate], in_use: UUID | None, tried: Collection[UUID] = ()
) -> Candidate | None:
    """Return the best living candidate that was not tried yet, or None.

    One that the vendor has not refused lately comes first, then the one that lacks the fewest scopes, then the one in
    use, so that a tenant changes its grant only for a better one, then the newest consent.
    """
    living = [one for one in candidates if one.is_living and one.grant_id not in tried]
    return min(living, key=lambda one: (one.is_refused, len(one.missing_scopes), *_age(one, in_use)), default=None)


def choose_grant_to_renew(candidates: Sequence[Candidate], in_use: UUID | None) -> Candidate | None:
    """Return the grant whose user is asked to connect again; None while one is living, or none lists the tenant.

    One that the vendor no longer accepts comes before one that was disconnected here.
    """
    if any(one.is_living for one in candidates):
        return None
    ended = [one for one in candidates if one.is_listed]
    return min(ended, key=lambda one: (one.state == GrantState.DISCONNECTED, *_age(one, in_use)), default=None)


@dataclass(frozen=True, slots=True)
class TenantReach:
    """The grants that reach one tenant, or did.

    Attributes:
        in_use: the grant that stands in the tenant's row.
        candidates: every grant, whatever its state.
    """

    in_use: UUID | None = None
    candidates: Sequence[Candidate] = ()

    def choose(self, tried: Collection[UUID] = ()) -> Candidate | None:
        """Return the best living grant that was not tried yet, or None."""
        return choose_grant(self.candidates, self.in_use, tried)

    def choose_to_renew(self) -> Candidate | None:
        """Return the grant whose user is asked to connect again; None where nobody needs to."""
        return choose_grant_to_renew(self.candidates, self.in_use)


def reaches_wrong_tenants(
    known: Mapping[str, TenantReach], selected: AbstractSet[str], own_grant: UUID | None, reached: AbstractSet[str]
) -> bool:
    """Return whether a user who was asked to reconnect has most likely chosen the wrong organisations.

    That is so where a selected tenant needs a reconnect and afterwards no selected tenant at all would be reached. It
    is never so for the user of a living grant, who renews it, nor for one whose grant brought no selected tenant and
    who comes back with tenants it did bring.

    Args:
        known: the grants of every tenant, by tenant id.
        selected: the tenants that are synced.
        own_grant: the grant of the user who consents, if there is one.
        reached: the tenants that the consent reaches.
    """
    own = {
        tenant_id: one for tenant_id, reach in known.items() for one in reach.candidates if one.grant_id == own_grant
    }
    if any(one.state == GrantState.ACTIVE for one in own.values()):
        return False
    if selected.isdisjoint(own) and not reached.isdisjoint(own):
        return False
    to_renew = [known[tenant_id].choose_to_renew() for tenant_id in selected & known.keys()]
    if not any(one and one.state == GrantState.RECONNECT_REQUIRED for one in to_renew):
        return False
    return selected.isdisjoint(reached | {tenant_id for tenant_id, reach in known.items() if reach.choose()})


def find_last_to_expire(candidates: Iterable[Candidate], best: Candidate) -> Candidate:
    """Return, of the living candidates as good as the best, the one whose refresh token expires last."""
    equal = [one for one in candidates if one.is_living and len(one.missing_scopes) == len(best.missing_scopes)]
    known = [(one.refresh_expires_at, one) for one in equal if one.refresh_expires_at]
    return max(known, key=lambda pair: pair[0], default=(None, best))[1]


def _age(candidate: Candidate, in_use: UUID | None) -> tuple[bool, float, str]:
    """Sort the grant in use first, then the newest consent; the id makes the order total."""
    return candidate.grant_id != in_use, -candidate.connected_at.timestamp(), str(candidate.grant_id)
