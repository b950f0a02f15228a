"""`[clusters.NAME]` of the router's configuration: its options' names, units, defaults and reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.evidence import Policy
from cluster.members import Endpoint
from srv.documents import WrongError, address
from srv.freshness import Policy as Freshness
from srv.names import canonical
from srv.policies import PolicyTable, max_age_of
from srv.resolvconf import DNS_PORT
from srv.zone import SERVICES
from xproto.tls import TlsMode

FRESHNESS = Freshness()


class ClusterSettings(PolicyTable):
    """`[clusters.NAME]`: where a cluster's members are learned and how they are asked."""

    srv: Annotated[str, Field(min_length=1, max_length=240)]
    """The cluster's domain: `_mysql._tcp.` and `_mysqlx._tcp.` are put before it. With a final dot the search list of
    /etc/resolv.conf is left alone; without `resolvers` it is followed otherwise."""
    resolvers: tuple[Annotated[Endpoint, address(DNS_PORT)], ...] = ()
    """DNS servers, `ADDRESS[:PORT]`, tried in this order. Empty: those of /etc/resolv.conf."""
    probe_user: str = ""
    """Account for health checks; needs SELECT on performance_schema."""
    probe_password_file: Path | None = None
    """File with its password in the first line. Else the environment's FAIRLEAD_PROBE_PASSWORD."""
    probe_tls: TlsMode | None = None
    """`disabled`, `preferred`, `required`, `verify-ca` or `verify-identity`, as MySQL has them. Left out: preferred, or
    verify-ca where an authority is given."""
    probe_tls_ca: Path | None = None
    """File of the authorities to believe, PEM. verify-ca and verify-identity need it."""
    probe_tls_cert: Path | None = None
    """File of the probes' own certificate, PEM, for an account that REQUIREs one."""
    probe_tls_key: Path | None = None
    """File of its key, PEM, not encrypted. Left out: it is in the same file."""
    poll_interval: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    """Seconds between looks at a member. Notices come in between; this is for what they miss."""
    probe_timeout: Annotated[float, Field(ge=0.05, le=60)] = 1.5
    """Seconds for one look, connecting included."""
    server_metrics: bool = False
    """Whether members are asked, with the probe's account, for what they count of themselves, for /metrics."""
    server_metrics_interval: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Seconds between two such questions to a member: Prometheus' usual scrape interval."""
    topology_max_age: Annotated[float, Field(ge=1, le=86400)] = 30.0
    """Seconds for which the last known roles serve new sessions while no member can be asked."""
    dns_keep_last_good: Annotated[float, Field(ge=0, le=604800)] = FRESHNESS.keep_last_good
    """Seconds for which the last good DNS answer stands while there is no new one."""
    dns_ttl_floor: Annotated[float, Field(ge=0.1, le=3600)] = FRESHNESS.floor
    """Seconds between two looks at a name, whatever its TTL and however often members fail."""
    dns_ttl_ceiling: Annotated[float, Field(ge=0.1, le=86400)] = FRESHNESS.ceiling
    """Seconds between two looks at a name at most, whatever its TTL."""
    dns_timeout: Annotated[float, Field(ge=0.05, le=60)] | None = None
    """Seconds for one question to one DNS server. Left out: `options timeout` of /etc/resolv.conf where its servers
    are asked, else 1."""
    dns_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    """Rounds over all DNS servers. Left out: `options attempts` of /etc/resolv.conf where its servers are asked,
    else 2."""

    @property
    def policy(self) -> Policy:
        """How observations of the cluster's members are judged."""
        return self.judging(max_age_of(self.probe_timeout, self.poll_interval))

    @model_validator(mode="after")
    def _names(self) -> Self:
        name = self.srv.removesuffix(".").lower()
        end = "." if self.srv.endswith(".") else ""
        for service in SERVICES:
            name = name.removeprefix(f"{service}.")
        try:
            if not name.isascii() or any(character.isspace() for character in name):
                raise ValueError("it has characters that no host name has")
            object.__setattr__(self, "srv", canonical(name) + end)
        except ValueError as exc:
            raise WrongError(
                "srv", f"{self.srv!r} is not a domain name ({exc}); write one like db.example.com"
            ) from exc
        if self.dns_ttl_floor > self.dns_ttl_ceiling:
            limits = f"{self.dns_ttl_floor:g} is above dns_ttl_ceiling, {self.dns_ttl_ceiling:g}"
            raise WrongError("dns_ttl_floor", f"{limits}; the floor must not be above the ceiling")
        if "\0" in self.probe_user:
            raise WrongError("probe_user", "must not contain a zero byte")
        return self
