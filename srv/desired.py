"""What is wanted published of one cluster, whoever wants it. Owns the value and its zone; must not know why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from srv.names import canonical
from srv.zone import Part, Zone, ZoneMember, build_zone

STAND_IN = ("192.0.2.1",)  # for laying out names before addresses are known (RFC 5737)


@dataclass(frozen=True, slots=True)
class Desired:
    """One cluster's records.

    The domain is kept in its canonical form; `ttl` is seconds. Where the roles are not known, role names answer
    SERVFAIL, or keep what a name server has at them: neither "nobody" nor what may have been true once. Where the
    members are not known either, so do all SRV names.

    Raises:
        ValueError: the domain cannot be a name.
    """

    domain: str
    members: tuple[ZoneMember, ...]
    ttl: int = 5
    roles_known: bool = True
    members_known: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", canonical(self.domain))

    def zone(self, *, serial: int, nameserver_addresses: tuple[str, ...] = ()) -> Zone:
        """Lay out the names.

        Raises:
            ValueError: they cannot be published; see `build_zone`.
        """
        return build_zone(
            self.domain,
            self.members,
            serial=serial,
            ttl=self.ttl,
            nameserver_addresses=nameserver_addresses,
            withhold_parts=not self.roles_known,
            withhold_all=not self.members_known,
        )

    def describe(self) -> str:
        """The publication on one log line."""
        words = [f"members={_listed(member.label for member in self.members) if self.members_known else 'unknown'}"]
        for part in Part:
            has = _listed(member.label for member in self.members if part in member.parts)
            words.append(f"{part.value}={has if self.roles_known else 'unknown'}")
        return " ".join(words)


def can_be_found(offered: Iterable[tuple[frozenset[Part], bool]]) -> bool:
    """Whether each part that is offered by somebody is so by one whose address is known.

    Else its name would be empty for want of an address, which is another thing than for want of a member. One host that
    never resolves takes nobody along, as long as there are others for the same part.

    Args:
        offered: the parts of each member, and whether it has an address.
    """
    of = list(offered)
    wanted = {part for parts, _ in of for part in parts}
    return wanted <= {part for parts, has_address in of if has_address for part in parts}


def _listed(labels: Iterable[str]) -> str:
    return ",".join(sorted(labels)) or "none"
