"""The publisher's configuration: TOML or flags in, one frozen value out.

Owns every option's name, unit, default and reason. Must not know the running publisher.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from cluster.members import Endpoint
from srv.desired import STAND_IN
from srv.documents import DocumentError, Domain, Table, WrongError, address, parse
from srv.policies import PolicyTable
from srv.publication import Known, desired_of, parse_known
from srv.records import TTL_LIMIT
from srv.resolvconf import DNS_PORT
from srv.zone import KEEP_ROLES
from xproto.tls import TlsMode

DEFAULT_LISTEN = Endpoint("127.0.0.1", 5353)
KEEP_ROLES_LIMIT = 86400.0  # seconds; whoever believes in roles longer than a day does not follow a cluster

Ttl = Annotated[int, Field(ge=1, le=TTL_LIMIT)]
KeepRoles = Annotated[float, Field(ge=0, le=KEEP_ROLES_LIMIT, allow_inf_nan=False)]


def _read_known(value: object) -> object:
    return parse_known(value) if isinstance(value, str) else value


def _read_network(value: object) -> object:
    return str(ipaddress.ip_network(value)) if isinstance(value, str) else value


def _read_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.username:
        raise ValueError("wanted http://HOST:PORT or https://HOST:PORT")
    return f"{url.scheme}://{url.netloc}"


def _read_prefix(value: object) -> object:
    if isinstance(value, str) and (not value.startswith("/") or value.endswith("/") or "//" in value):
        raise ValueError('wanted a path like "/fairlead": a slash before it and none at its end')
    return value


class ServerTable(Table):
    """`[server]`: the built-in name server."""

    listen: tuple[Annotated[Endpoint, address(None)], ...] = (DEFAULT_LISTEN,)
    """`ADDRESS:PORT`, each served over UDP and TCP. No wildcard: the zone tells these addresses, and replies come from
    them. Empty: no built-in server."""
    transfer_to: tuple[Annotated[str, BeforeValidator(_read_network)], ...] = ()
    """Secondaries that may have whole zones (AXFR): `ADDRESS` or `ADDRESS/BITS`."""
    notify: tuple[Annotated[Endpoint, address(DNS_PORT)], ...] = ()
    """Secondaries that are told of each change (NOTIFY): `ADDRESS[:PORT]`."""

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        for endpoint in self.listen:
            if ipaddress.ip_address(endpoint.host).is_unspecified:
                raise WrongError(
                    "listen",
                    f"{endpoint}: name the address that clients ask (there may be several): the zone tells it, and"
                    " replies come from it",
                )
        if len(set(self.listen)) < len(self.listen):
            raise WrongError("listen", "one address is given twice; leave one out")
        return self


class UpdatesTable(Table):
    """`[updates.NAME]`: another name server, which is kept up to date by updates (RFC 2136)."""

    server: Annotated[Endpoint, address(DNS_PORT)]
    """`ADDRESS[:PORT]`."""
    zone: Domain
    """The zone on that server which the clusters' domains are in."""
    key_name: Domain
    """The TSIG key's name, as the server has it."""
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224"] = "hmac-sha256"
    key_file: Path
    """File with the key's secret, in base64, in the first line."""


class EtcdTable(Table):
    """`[etcd.NAME]`: an etcd cluster with agents' keys."""

    endpoints: Annotated[tuple[Annotated[str, BeforeValidator(_read_url)], ...], Field(min_length=1)]
    """`http://HOST:PORT` or `https://HOST:PORT`. Any one is enough; the next is asked when one does not answer."""
    prefix: Annotated[str, BeforeValidator(_read_prefix)] = "/fairlead"
    """What the keys begin with: `PREFIX/DOMAIN/MEMBER`."""
    user: str = ""
    """Where etcd has authentication on: a user that may read the prefix (an agent's: write its key too)."""
    password_file: Path | None = None
    """File with the user's password in the first line."""
    tls_ca: Path | None = None
    """The authority of the servers' certificates, for https."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """Our own certificate and its key, where etcd asks for one (`--client-cert-auth`)."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        schemes = {urlsplit(endpoint).scheme for endpoint in self.endpoints}
        if len(schemes) > 1:
            raise WrongError("endpoints", "all must be http, or all https")
        if "https" in schemes and self.tls_ca is None:
            raise WrongError("tls_ca", "is missing: https needs the authority of the servers' certificates")
        if "http" in schemes and (self.tls_ca or self.tls_cert or self.tls_key):
            raise WrongError("endpoints", "with TLS files they must begin with https://")
        if self.tls_key and not self.tls_cert:
            raise WrongError("tls_cert", "is missing: tls_key belongs to a certificate")
        if bool(self.user) != bool(self.password_file):
            raise WrongError("password_file" if self.user else "user", "user and password_file belong together")
        return self


class GroupTable(PolicyTable):
    """`[clusters.NAME]` with `source = "group"`: members are asked how they stand."""

    source: Literal["group"]
    domain: Domain
    members: Annotated[tuple[Annotated[Known, BeforeValidator(_read_known)], ...], Field(min_length=1)]
    """`NAME=HOST[:PORT[/XPORT]]`, published as NAME.DOMAIN. With 0 for XPORT it has no X Protocol, and is asked over
    the classic one."""
    probe_user: Annotated[str, Field(min_length=1)]
    probe_password_file: Path | None = None
    """File with its password in the first line. Else the environment's FAIRLEAD_PROBE_PASSWORD."""
    probe_tls: TlsMode | None = None
    """`disabled`, `preferred`, `required`, `verify-ca` or `verify-identity`. Left out: verify-ca with a CA, else
    preferred."""
    probe_tls_ca: Path | None = None
    ttl: Ttl = 5
    """Seconds, of all records."""
    interval: Annotated[float, Field(ge=0.01, le=60, allow_inf_nan=False)] = 0.5
    """Seconds between looks at a member."""
    keep_roles: KeepRoles = KEEP_ROLES
    """Seconds for which the last known roles are published while no member can be asked."""
    adopt: bool = True
    """Whether members are published that only the group's own view names."""


class FileTable(Table):
    """`[clusters.NAME]` with `source = "file"`: a file lists one or more clusters."""

    source: Literal["file"]
    path: Path


class LeasedTable(PolicyTable):
    """`[clusters.NAME]` with `source = "etcd"`: agents beside the members keep keys in etcd."""

    source: Literal["etcd"]
    domain: Domain
    etcd: str = ""
    """A name from `[etcd]`. May be left out where there is only one."""
    ttl: Ttl = 5
    keep_roles: KeepRoles = KEEP_ROLES


class Settings(Table):
    """The whole configuration."""

    server: ServerTable = ServerTable()
    updates: Mapping[str, UpdatesTable] = Field(default_factory=dict)
    etcd: Mapping[str, EtcdTable] = Field(default_factory=dict)
    clusters: Annotated[
        Mapping[str, Annotated[GroupTable | FileTable | LeasedTable, Field(discriminator="source")]],
        Field(min_length=1),
    ]

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if not self.server.listen and not self.updates:
            raise WrongError(("server", "listen"), "is empty, and there is no [updates]: nothing would be published")
        named: dict[str, str] = {}
        for name, cluster in self.clusters.items():
            if isinstance(cluster, FileTable):
                continue
            if cluster.domain in named:
                other = named[cluster.domain]
                raise WrongError(("clusters", name, "domain"), f"{cluster.domain} is already that of {other}")
            named[cluster.domain] = name
            if isinstance(cluster, LeasedTable):
                self._check_etcd(name, cluster)
            else:
                self._check_layout(name, cluster)
        return self

    def _check_etcd(self, name: str, cluster: LeasedTable) -> None:
        names = ", ".join(sorted(self.etcd))
        if not self.etcd:
            raise WrongError(("clusters", name, "source"), "etcd needs an [etcd.NAME] table")
        if not cluster.etcd and len(self.etcd) > 1:
            raise WrongError(("clusters", name, "etcd"), f"must be one of {names}")
        if cluster.etcd and cluster.etcd not in self.etcd:
            raise WrongError(("clusters", name, "etcd"), f"{cluster.etcd!r} is not one of {names}")

    def _check_layout(self, name: str, cluster: GroupTable) -> None:
        """Lay names out once with stand-in addresses: what cannot be published shows here and not when it runs."""
        stand_ins = {one.host: STAND_IN for one in cluster.members}
        desired = desired_of(cluster.domain, cluster.members, stand_ins, None, ttl=cluster.ttl)
        try:
            desired.zone(serial=1, nameserver_addresses=tuple(endpoint.host for endpoint in self.server.listen))
        except ValueError as exc:
            raise WrongError(("clusters", name), str(exc)) from exc

    def etcd_of(self, cluster: LeasedTable) -> str:
        """The name of the etcd that has a cluster's keys."""
        return cluster.etcd or next(iter(self.etcd))


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        DocumentError: it cannot be read, or one line for each thing that is wrong.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DocumentError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise DocumentError(f"{path}: not valid TOML: {exc}") from exc
    return parse(Settings, document)


__all__ = ["DocumentError", "Settings", "load", "parse"]
