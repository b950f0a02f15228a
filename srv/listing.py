"""A static file's text as clusters to publish. Owns the file's form; must not know files, nor how hosts resolve.

TOML, as the configuration is:

    [clusters."orders.db.example.com"]
    ttl = 5

    [clusters."orders.db.example.com".members.mysql-0]
    host = "10.0.0.10"
    role = "primary"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Annotated, Self

from pydantic import Field, model_validator

from srv.desired import STAND_IN, Desired, can_be_found
from srv.documents import DocumentError, Domain, Table, WrongError, parse_text
from srv.names import is_address
from srv.records import TTL_LIMIT
from srv.zone import DEFAULT_WEIGHT, PRIORITY_LIMIT, WEIGHT_LIMIT, Part, ZoneMember

Port = Annotated[int, Field(ge=0, le=65535)]


class ListedRole(Enum):
    """What a member is listed for."""

    PRIMARY = "primary"
    REPLICA = "replica"
    BOTH = "both"  # of a cluster that is written to anywhere
    NONE = "none"


PARTS: Mapping[ListedRole, frozenset[Part]] = {
    ListedRole.PRIMARY: frozenset({Part.PRIMARY}),
    ListedRole.REPLICA: frozenset({Part.REPLICAS}),
    ListedRole.BOTH: frozenset(Part),
    ListedRole.NONE: frozenset(),
}


class ListedMember(Table):
    """`[clusters."DOMAIN".members.NAME]`: published as NAME.DOMAIN."""

    host: str = ""
    """A host name or address; or else `addresses`."""
    addresses: tuple[str, ...] = ()
    port: Port = 3306
    """0: the classic protocol is not offered."""
    x_port: Port = 33060
    """0: the X Protocol is not offered."""
    role: ListedRole | None = None
    """`primary`, `replica`, `both` or `none`. Where no member of a cluster has one, its role names answer SERVFAIL."""
    weight: Annotated[int, Field(ge=0, le=WEIGHT_LIMIT)] = DEFAULT_WEIGHT
    priority: Annotated[int, Field(ge=0, le=PRIORITY_LIMIT)] = 0
    drain: bool = False
    """Whether it is published no more, while it stays on the list."""

    @model_validator(mode="after")
    def _place(self) -> Self:
        if bool(self.host) == bool(self.addresses):
            raise WrongError("host", "give host or addresses, one of them")
        if wrong := [each for each in self.addresses if not is_address(each)]:
            raise WrongError("addresses", f"{wrong[0]!r} is not an IP address; a name goes into host")
        return self


class ListedCluster(Table):
    """`[clusters."DOMAIN"]`."""

    ttl: Annotated[int, Field(ge=1, le=TTL_LIMIT)] = 5
    members: Mapping[str, ListedMember] = Field(default_factory=dict)

    def desired(self, domain: str, found: Mapping[str, tuple[str, ...]]) -> Desired:
        """What to publish. A member whose host has no address yet is left out, as is one that drains.

        Where that leaves nobody in a role that somebody has, roles are not known.

        Raises:
            ValueError: a member that cannot be published.
        """
        roles = {name: one.role for name, one in self.members.items() if one.role is not None}
        members = tuple(
            ZoneMember(
                name.lower(),
                one.addresses or found[one.host],
                one.port or None,
                one.x_port or None,
                PARTS[roles.get(name, ListedRole.NONE)],
                one.priority,
                one.weight,
            )
            for name, one in sorted(self.members.items())
            if not one.drain and (one.addresses or found.get(one.host))
        )
        offered = (
            (PARTS[role], bool(one.addresses or found.get(one.host)))
            for name, role in roles.items()
            if not (one := self.members[name]).drain
        )
        return Desired(domain, members, self.ttl, roles_known=bool(roles) and can_be_found(offered))


class Listing(Table):
    """The whole file."""

    clusters: Mapping[Domain, ListedCluster]

    @model_validator(mode="after")
    def _can_be_published(self) -> Self:
        stand_ins = dict.fromkeys(self.hosts(), STAND_IN)
        for domain, cluster in self.clusters.items():
            try:
                cluster.desired(domain, stand_ins).zone(serial=1, nameserver_addresses=STAND_IN)
            except ValueError as exc:
                raise WrongError(("clusters", domain), str(exc)) from exc
        return self

    def hosts(self) -> Collection[str]:
        """The hosts that must be looked up."""
        return {one.host for cluster in self.clusters.values() for one in cluster.members.values() if one.host}


def read_listing(text: str) -> Listing:
    """Read the file's text.

    Raises:
        DocumentError: a line for each thing that is wrong, which names the file's line.
    """
    return parse_text(Listing, text)


__all__ = ["DocumentError", "Listing", "read_listing"]
