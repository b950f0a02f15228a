"""What came of looking up an SRV name: the router's words for it, and how they follow from a response.

Owns the meaning of responses. Must not know sockets, retries or time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from srv.names import ROOT, is_within
from srv.records import AddressRecord, Kind, NameRecord, Rcode, RRset, SoaRecord, SrvRecord
from srv.wire import Reply

ALIAS_LIMIT = 8  # CNAMEs followed for one name, over all responses; more is a loop or a mistake
TOO_MANY_ALIASES = f"more than {ALIAS_LIMIT} aliases, or a loop"


class Outcome(Enum):
    """How a look ended. The first four are decided by the name's owner; after the others nobody can tell."""

    ANSWER = "answer"
    EMPTY = "empty"  # the name exists, and no SRV record stands there
    NXDOMAIN = "nxdomain"  # the name does not exist
    UNAVAILABLE = "unavailable"  # the one target is ".": decidedly no such service
    SERVFAIL = "servfail"  # a name server could not find out
    REFUSED = "refused"  # a name server will not tell us
    TIMEOUT = "timeout"  # nothing usable came in time, or nobody listens
    MALFORMED = "malformed"  # something came that is not DNS

    @property
    def is_decided(self) -> bool:
        """Whether it is known how things are."""
        return self in (Outcome.ANSWER, Outcome.EMPTY, Outcome.NXDOMAIN, Outcome.UNAVAILABLE)


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One SRV record with its addresses; without any, they could not be found now."""

    name: str
    port: int
    priority: int
    weight: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The targets in a fixed order (not the order of use, see `order`), good for `ttl` seconds."""

    targets: tuple[Target, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class Lookup:
    """One look at one name. `negative_ttl`: for how many seconds a negative answer is good, where that was said.

    `nowhere`: the targets that decidedly have no address. `found_at`: where the records stand, if not at the
    name itself: the search list or an alias led there.
    """

    name: str
    outcome: Outcome
    answer: Answer | None = None
    detail: str = ""
    negative_ttl: float | None = None
    nowhere: frozenset[str] = frozenset()
    found_at: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one response says about one name and type. `ttl` is the records', or the negative answer's where given.

    `owner`: the name that the response's `aliases`, so many, lead to. `leads_on`: the response says nothing of that
    name, so that it must be asked for next; `ttl` is then that of the aliases.
    """

    outcome: Outcome
    records: tuple[SrvRecord | AddressRecord, ...] = ()
    ttl: int | None = None
    detail: str = ""
    owner: str = ""
    aliases: int = 0
    leads_on: bool = False


def find(reply: Reply, name: str, kind: Kind) -> Finding:
    """Read out of a response what it says about the name, aliases in it followed."""
    match reply.rcode:
        case Rcode.NOERROR:
            pass
        case Rcode.NXDOMAIN:
            return Finding(Outcome.NXDOMAIN, ttl=_negative_ttl(reply))
        case Rcode.REFUSED:
            return Finding(Outcome.REFUSED)
        case rcode:
            said = Rcode(rcode).name if rcode in Rcode._value2member_map_ else f"response code {rcode}"
            return Finding(Outcome.SERVFAIL, detail=said if rcode != Rcode.SERVFAIL else "")
    at = {(rrset.name, rrset.kind): rrset for rrset in reply.answer}
    owner = name
    ttls: list[int] = []
    for _ in range(ALIAS_LIMIT):
        rrset = at.get((owner, kind))
        if rrset is not None and rrset.records:
            records = tuple(record for record in rrset.records if isinstance(record, SrvRecord | AddressRecord))
            return Finding(Outcome.ANSWER, records, min([*ttls, rrset.ttl]), owner=owner, aliases=len(ttls))
        alias = at.get((owner, Kind.CNAME))
        if alias is None:
            break
        ttls.append(alias.ttl)
        owner = next(record.target for record in alias.records if isinstance(record, NameRecord))
    else:
        return Finding(Outcome.SERVFAIL, detail=TOO_MANY_ALIASES)
    if _is_referral(reply):
        return Finding(Outcome.SERVFAIL, detail="it only refers to other servers: it does not resolve for others")
    if owner != name and not _is_denied(reply, owner):
        detail = f"an alias leads to {owner}, of which it says nothing"
        return Finding(Outcome.SERVFAIL, (), min(ttls), detail, owner, len(ttls), leads_on=True)
    negative = _negative_ttl(reply)
    return Finding(Outcome.EMPTY, ttl=None if negative is None else min([*ttls, negative]), owner=owner)


def is_unavailable(records: Iterable[SrvRecord]) -> bool:
    """Whether the records say that there is no such service (RFC 2782: the target is the root)."""
    return all(record.target == ROOT for record in records)


def addresses_given(reply: Reply) -> dict[str, tuple[tuple[str, ...], int]]:
    """The addresses in the additional section by name, IPv4 first, with the least TTL among them."""
    given: dict[str, tuple[tuple[str, ...], int]] = {}
    for kind in (Kind.A, Kind.AAAA):
        for rrset in reply.additional:
            if rrset.kind is kind and rrset.records:
                before, ttl = given.get(rrset.name, ((), rrset.ttl))
                given[rrset.name] = (before + addresses_in(rrset.records), min(ttl, rrset.ttl))
    return given


def addresses_in(records: Iterable[object]) -> tuple[str, ...]:
    """The address records' addresses, sorted, so that one set always looks the same."""
    return tuple(sorted({record.address for record in records if isinstance(record, AddressRecord)}))


def _negative_ttl(reply: Reply) -> int | None:
    """RFC 2308, 5: the lesser of the SOA's own TTL and its minimum field."""
    for rrset in reply.authority:
        for record in rrset.records:
            if isinstance(record, SoaRecord):
                return min(rrset.ttl, record.minimum)
    return None


def _is_denied(reply: Reply, owner: str) -> bool:
    """Whether it speaks for the zone that the name lies in, by that zone's SOA (RFC 2308, 2.2)."""
    origins = [rrset.name for rrset in _with_records(reply.authority) if rrset.kind is Kind.SOA]
    return any(origin == ROOT or is_within(owner, origin) for origin in origins)


def _is_referral(reply: Reply) -> bool:
    """An empty answer that only names other servers says nothing about the name (RFC 2308, 2.1)."""
    kinds = {rrset.kind for rrset in _with_records(reply.authority)}
    return not reply.authoritative and not reply.answer and Kind.NS in kinds and Kind.SOA not in kinds


def _with_records(rrsets: Iterable[RRset]) -> Iterable[RRset]:
    return (rrset for rrset in rrsets if rrset.records)
