"""`[routes.NAME]` of the router's configuration: its options' names, units, defaults and reasons."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from cluster.members import CLASSIC_PORT, X_PORT, Endpoint, parse_endpoint
from router.addresses import UNIX, Listen, UnixPath
from router.routes import Limits, Route, Wire
from router.words import Destination, Protocol, ProxyProtocol, StrategyName
from srv.documents import Table, WrongError, address
from srv.names import canonical, is_address

UNIX_PATH_BYTES = 107  # unix(7): sun_path has 108, the last of them zero

ALWAYS_FIRST = (StrategyName.FIRST_AVAILABLE, StrategyName.NEXT_AVAILABLE)
"""Strategies by which all sessions go to one member while it accepts."""

_read_address = address(None, "127.0.0.1:6446")


def _read_listen(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(f"{UNIX}:"):
        return _read_address.func(value)  # type: ignore[call-arg]
    path = value.removeprefix(f"{UNIX}:")
    if not path.startswith("/") or len(path.encode()) > UNIX_PATH_BYTES or "\0" in path:
        raise ValueError(f"after {UNIX}: an absolute path of at most {UNIX_PATH_BYTES} bytes is wanted")
    return UnixPath(path)


def _read_member(value: object) -> object:
    """`HOST[:PORT]`; port 0 stands for the protocol's own until that is known."""
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError('wanted a text like "db1.example.com:3306"')
    endpoint = parse_endpoint(value, 0)
    spelt = str(ipaddress.ip_address(endpoint.host)) if is_address(endpoint.host) else canonical(endpoint.host)
    return Endpoint(spelt, endpoint.port)


def _read_network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('wanted a text like "10.0.0.0/8"')
    if value == UNIX:
        return value
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as exc:
        raise ValueError(f"{value!r} is not a network ({exc}); write one like 10.0.0.0/8, or {UNIX}") from None


def _read_mode(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError('wanted the permissions as a text of three octal digits, like "0660"')
    return int(value, 8)


Seconds = Annotated[int, Field(ge=0, le=32767)]  # tcp(7): what keepalive options take


class RouteSettings(Table):
    """`[routes.NAME]`: a listening port."""

    listen: Annotated[Listen, BeforeValidator(_read_listen)]
    """`ADDRESS:PORT` to listen on, or `unix:/PATH`."""
    dual_stack: bool = False
    """Whether a route that listens on `[::]` takes IPv4 clients too. Off, as two routes with one address each say what
    they mean, whatever the system's own setting is."""
    socket_mode: Annotated[int, BeforeValidator(_read_mode)] = 0o666
    """Permissions of a Unix socket, octal. Whoever may open it can connect, as with MySQL's own: accounts protect."""
    backlog: Annotated[int, Field(ge=1, le=65535)] = 4096
    """Connections the kernel keeps before they are accepted: a reconnect storm after a failover must find room. The
    kernel's own limit (net.core.somaxconn) may be lower."""
    protocol: Protocol
    """`classic` or `x`."""
    destination: Destination | None = None
    """`PRIMARY`, `SECONDARY` or `PRIMARY_AND_SECONDARY`. Required, except with `members`."""
    cluster: str = ""
    """A name from `[clusters]`. May be left out where there is only one."""
    members: tuple[Annotated[Endpoint, BeforeValidator(_read_member)], ...] = ()
    """Servers in place of a cluster, `HOST[:PORT]`, which nobody asks for their roles."""
    strategy: StrategyName | None = None
    """`first-available`, `next-available`, `round-robin`, `round-robin-with-fallback`, `least-connections`, `weighted`
    or `random-two-choices`. Left out: see `usual_strategy`."""
    fallback_to_primary: bool | None = None
    """Whether a SECONDARY route may use the primary while no secondary can be had. Left out: as the strategy's name
    says, and where that is left out as well, it may: readers are better served by the primary than by an error."""
    parking_timeout: Annotated[float, Field(ge=0, le=3600)] = 9.0
    """Seconds a new session waits for a member: below the common drivers' connect timeout of 10 s, so that
    the error reaches them, and above the 7 s a group needs to replace a dead primary."""
    parking_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    """Sessions that may wait at once in a worker; the next is refused. Each holds a socket and at most what one read
    brings."""
    connect_timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds to connect to one member before the next is tried: two lost SYNs on a network of milliseconds (MySQL
    Router's 5 s would leave time for one member only before drivers give up)."""
    client_connect_timeout: Annotated[float, Field(ge=0.1, le=3600)] = 9.0
    """Seconds from a session's getting a member until both have spoken, and for a PROXY header to come: MySQL Router's,
    below drivers' connect timeout of 10 s."""
    max_connections: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Sessions at once; the next is refused with error 1040. 0: only `max_total_connections` counts."""
    max_connect_errors: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Sessions in a row that a client host ends before it answers a member's greeting; then it is blocked, error 1129.
    MySQL's own default. 0: none is blocked. Loopback addresses never are: all that runs here shares them."""
    quarantine_threshold: Annotated[int, Field(ge=0, le=1000)] = 1
    """Dials in a row that fail before a member is tried only after all others. 1 as MySQL Router has it: one timeout is
    time enough lost. 0: never."""
    quarantine_interval: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    """Seconds between looks whether a member in quarantine accepts connections again."""
    idle_timeout: Annotated[float, Field(ge=0, le=31_536_000)] = 0.0
    """Seconds without a byte either way after which a session is ended. 0: never, since servers have `wait_timeout`."""
    keepalive_idle: Seconds = 60
    """Seconds without a byte before a silent peer's host is asked whether it still exists: below the 350 s and more
    after which cloud networks forget a connection. 0: never asked."""
    keepalive_interval: Seconds = 10
    """Seconds between two such questions. 0: the kernel's own."""
    keepalive_count: Annotated[int, Field(ge=0, le=127)] = 6
    """Questions without an answer after which the peer is dead: with the others, two minutes. 0: the kernel's own."""
    tcp_user_timeout: Seconds = 120
    """Seconds after which a host that acknowledges nothing that was sent is dead: the kernel's own, 15 minutes, would
    hold a session's buffers that long. 0: the kernel's own."""
    rebalance: bool = False
    """Whether sessions are moved off overfull members, by ending them, when a member comes back. For routes to readers,
    whose clients connect again by themselves; off, since not every client does."""
    rebalance_rate: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Sessions a second so ended: each costs its client a connection, and they must not all come at once."""
    disconnect_on_promoted_to_primary: bool = False
    """Whether a SECONDARY route's sessions are ended when their member becomes the primary. Off as in MySQL Router:
    what they read there is right."""
    proxy_protocol: bool = False
    """Whether what comes from `proxy_networks` begins with a PROXY header, version 1 or 2, that names the client."""
    proxy_networks: tuple[Annotated[str, BeforeValidator(_read_network)], ...] = ()
    """Networks of the proxies before this one, or `unix`. From them the header is required; of others none is read."""
    send_proxy_protocol: ProxyProtocol = ProxyProtocol.OFF
    """`off`, `v1` or `v2`: the header that tells members the client's address (MariaDB: `proxy_protocol_networks`)."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.members:
            for key in ("destination", "cluster", "fallback_to_primary"):
                if getattr(self, key):
                    raise WrongError(key, "goes with a cluster, and this route has members of its own; leave one out")
            usual = CLASSIC_PORT if self.protocol is Protocol.CLASSIC else X_PORT
            known = tuple(Endpoint(one.host, one.port or usual) for one in self.members)
            if len(set(known)) != len(known):
                raise WrongError("members", "one of them stands there twice")
            object.__setattr__(self, "members", known)
        elif self.destination is None:
            names = ", ".join(one.value for one in Destination)
            raise WrongError("destination", f"is missing; write one of {names}, or list servers as members")
        if self.fallback_to_primary and self.destination is not Destination.SECONDARY:
            raise WrongError("fallback_to_primary", "only a route with destination SECONDARY can fall back")
        if self.strategy is StrategyName.ROUND_ROBIN_WITH_FALLBACK:
            if self.destination is not Destination.SECONDARY:
                raise WrongError("strategy", "only a route with destination SECONDARY can fall back; write round-robin")
            if self.fallback_to_primary is False:
                raise WrongError("fallback_to_primary", "contradicts the strategy; write round-robin for that")
        if self.rebalance and (self.members or self.destination is Destination.PRIMARY):
            raise WrongError("rebalance", "is for routes to the SECONDARY members of a cluster")
        if self.disconnect_on_promoted_to_primary and self.destination is not Destination.SECONDARY:
            raise WrongError("disconnect_on_promoted_to_primary", "is for routes to the SECONDARY members of a cluster")
        if self.rebalance and self.strategy in ALWAYS_FIRST:
            raise WrongError("rebalance", f"goes with no {self.strategy.value}: who is ended would come straight back")
        if self.dual_stack and (isinstance(self.listen, UnixPath) or self.listen.host != "::"):
            raise WrongError("dual_stack", "needs a route that listens on [::]")
        if self.proxy_protocol != bool(self.proxy_networks):
            raise WrongError(
                "proxy_networks",
                "name the networks of the proxies that are to be believed, like 10.0.0.0/8"
                if self.proxy_protocol
                else "is of no use without proxy_protocol = true",
            )
        return self

    @property
    def falls_back(self) -> bool:
        """Whether the primary stands behind the secondaries."""
        if self.fallback_to_primary is not None:
            return self.fallback_to_primary
        names = (None, StrategyName.ROUND_ROBIN_WITH_FALLBACK)
        return self.destination is Destination.SECONDARY and self.strategy in names

    @property
    def usual_strategy(self) -> StrategyName:
        """What is used where no strategy is set.

        PRIMARY: least-connections, which with one primary is the only order there is, and with several follows their
        load. SECONDARY: MySQL Router's. A list: first-available, which never parts what writes to a primary and its
        standby.
        """
        if self.members:
            return StrategyName.FIRST_AVAILABLE
        if self.destination is Destination.PRIMARY:
            return StrategyName.LEAST_CONNECTIONS
        return StrategyName.ROUND_ROBIN_WITH_FALLBACK if self.falls_back else StrategyName.ROUND_ROBIN

    def route(self, name: str, *, topology_max_age: float, max_total_connections: int) -> Route:
        """What the router makes of it.

        Args:
            name: the route's.
            topology_max_age: of its cluster, in seconds.
            max_total_connections: of all routes together.
        """
        return Route(
            name=name,
            protocol=self.protocol,
            destination=self.destination or Destination.PRIMARY_AND_SECONDARY,
            strategy=self.strategy or self.usual_strategy,
            fallback_to_primary=self.falls_back,
            topology_max_age=topology_max_age,
            parking_timeout=self.parking_timeout,
            parking_limit=self.parking_limit,
            connect_timeout=self.connect_timeout,
            members=self.members,
            limits=Limits(
                max_connections=self.max_connections,
                max_total_connections=max_total_connections,
                client_connect_timeout=self.client_connect_timeout,
                max_connect_errors=self.max_connect_errors,
                idle_timeout=self.idle_timeout,
                quarantine_threshold=self.quarantine_threshold,
                quarantine_interval=self.quarantine_interval,
            ),
            wire=self.wire,
            proxy_networks=self.proxy_networks,
            send_proxy=self.send_proxy_protocol,
            rebalance_rate=self.rebalance_rate if self.rebalance else 0.0,
            leaves_promoted=self.disconnect_on_promoted_to_primary,
        )

    @property
    def wire(self) -> Wire:
        """What its sockets are set to."""
        return Wire(
            backlog=self.backlog,
            dual_stack=self.dual_stack,
            socket_mode=self.socket_mode,
            keepalive_idle=self.keepalive_idle,
            keepalive_interval=self.keepalive_interval,
            keepalive_count=self.keepalive_count,
            tcp_user_timeout=self.tcp_user_timeout,
        )
