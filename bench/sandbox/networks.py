"""Which network the members stand in: two classes of one shape, namespaces for root and loopback for everybody.

With namespaces each member has one of its own, and one more, the switch, holds the bridge that joins them, so that
neither the packet filters of this machine nor its settings for bridges have a say. This machine has one end of one
link.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bench.sandbox.addresses import (
    HOST_OFFSET,
    choose_base_port,
    choose_subnet,
    choose_tag,
    listening_ports,
    loopback_members,
    namespace_members,
    used_networks,
)
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import locked
from bench.sandbox.packet_filter import REMOVE, Direction, Side, cut_text
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.record import NetworkKind, Record
from bench.sandbox.servers import Server

NAMESPACES = Path("/run/netns")
# Of the machine, as what is chosen under it; root has more than one home directory.
LOCK = Path("/run/fairlead-network.lock")
SWITCH = "switch"
SWITCH_HOST_END = "host"
# fl-<tag> is this machine's link, fl-<tag>-<name> a namespace; the kernel allows 15 characters for a link.
OWN_NAME = re.compile(r"^fl-([0-9a-f]{4})(?:-.+)?$")
# Seconds. A link ends with its namespace, which the kernel dismantles in the background.
LINK_TIMEOUT = 10.0
NEEDS_ROOT = "needs root: packets are dropped inside a member's network namespace, and on loopback it has none"


class Network(Protocol):
    """How members reach each other and are reached."""

    kind: NetworkKind

    def choosing(self) -> AbstractContextManager[None]:
        """Hold off other sandboxes while addresses are chosen and taken."""

    def plan(self, record: Record, directory: Path, count: int) -> Record:
        """Return the record with free names and addresses, those it has already if they are free.

        Args:
            directory: the sandbox's; names are derived from it.
            count: how many members it has.
        """

    def create(self, record: Record) -> None:
        """Make it."""

    def remove(self, record: Record) -> None:
        """Remove all of it that is there."""

    def exists(self, record: Record) -> bool:
        """Whether it is there."""

    def enter(self, record: Record, name: str) -> list[str]:
        """Return the argv prefix that runs a program where the member stands."""

    def cut(self, record: Record, name: str, side: Side, direction: Direction) -> None:
        """Drop a member's packets, in place of an earlier cut."""

    def heal(self, record: Record, name: str) -> None:
        """Let all packets pass again."""


class NamespaceNetwork:
    """A network namespace for each member."""

    kind = NetworkKind.NAMESPACES

    def __init__(self, server: Server) -> None:
        self._server = server

    def choosing(self) -> AbstractContextManager[None]:
        return _choosing()

    def plan(self, record: Record, directory: Path, count: int) -> Record:
        NAMESPACES.mkdir(exist_ok=True)
        names = [entry.name for entry in NAMESPACES.iterdir()] + [name for _, name in socket.if_nameindex()]
        taken = {match[1] for name in names if (match := OWN_NAME.match(name))}
        addresses, routes = (
            json.loads(self._ip([], ["-json", "-4", *what]) or "[]")
            for what in (["address", "show"], ["route", "show", "table", "all"])
        )
        try:
            tag = record.tag if record.tag and record.tag not in taken else choose_tag(str(directory), taken)
            subnet = choose_subnet(used_networks(addresses, routes), record.subnet)
        except LookupError as exc:
            raise SandboxError(f"no room for the members' network: {exc}") from exc
        return replace(
            record,
            network=self.kind,
            tag=tag,
            subnet=str(subnet),
            host_address=str(subnet[HOST_OFFSET]),
            members=namespace_members(count, subnet),
        )

    def create(self, record: Record) -> None:
        NAMESPACES.mkdir(exist_ok=True)
        unshare = need_program("unshare", "util-linux")
        for name in (SWITCH, *(member.name for member in record.members)):
            path = _namespace(record, name)
            path.touch()
            try:
                run_program([unshare, f"--net={path}", "true"])
            except SandboxError as exc:
                raise SandboxError(
                    f"cannot make a network namespace ({exc}): this needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, "
                    "so a privileged container if in one; an ordinary user gets a sandbox on loopback"
                ) from exc
        prefix = ipaddress.IPv4Network(record.subnet).prefixlen
        ports = [
            f"link add {member.name} type veth peer name eth0 netns {_namespace(record, member.name).name}"
            for member in record.members
        ]
        ends = [SWITCH_HOST_END, *(member.name for member in record.members)]
        self._ip(
            [],
            [
                f"link add {_link(record)} type veth peer name {SWITCH_HOST_END} "
                f"netns {_namespace(record, SWITCH).name}",
                f"address add {record.host_address}/{prefix} dev {_link(record)}",
                *_without_ipv6(_link(record)),
                f"link set {_link(record)} up",
            ],
        )
        joins = [line for end in ends for line in (*_without_ipv6(end), f"link set {end} master bridge up")]
        bridge = ["link add bridge type bridge", *_without_ipv6("bridge"), "link set bridge up"]
        self._ip(self.enter(record, SWITCH), ["link set lo up", *bridge, *ports, *joins])
        for member in record.members:
            address = f"address add {member.host}/{prefix} dev eth0"
            self._ip(
                self.enter(record, member.name), ["link set lo up", address, *_without_ipv6("eth0"), "link set eth0 up"]
            )

    def remove(self, record: Record) -> None:
        if _link(record) in _links():
            # Should `ip` be gone with the cache: the link ends with the switch as well.
            with suppress(SandboxError):
                self._ip([], [f"link delete {_link(record)}"])
        remove_network(record.tag)

    def exists(self, record: Record) -> bool:
        names = (SWITCH, *(member.name for member in record.members))
        return _link(record) in _links() and all(_namespace(record, name).exists() for name in names)

    def enter(self, record: Record, name: str) -> list[str]:
        return [need_program("nsenter", "util-linux"), f"--net={_namespace(record, name)}", "--"]

    def cut(self, record: Record, name: str, side: Side, direction: Direction) -> None:
        peers = [peer.host for peer in record.peers(name)]
        addresses = {Side.PEERS: peers, Side.CLIENTS: [record.host_address], Side.ALL: [*peers, record.host_address]}
        if not addresses[side]:
            raise SandboxError(f"{name} is the only member: it has no peers to be cut off from")
        self._nft(record, name, cut_text(addresses[side], direction))

    def heal(self, record: Record, name: str) -> None:
        self._nft(record, name, REMOVE)

    def _nft(self, record: Record, name: str, ruleset: str) -> None:
        run_program([*self.enter(record, name), *self._server.tool("nft"), "-f", "-"], text=ruleset)

    def _ip(self, where: list[str], commands: list[str]) -> str:
        """Run one query (words that begin with an option) or a batch of commands."""
        ip = [*where, *self._server.tool("ip")]
        if commands[0].startswith("-"):
            return run_program([*ip, *commands])
        return run_program([*ip, "-batch", "-"], text="\n".join(commands) + "\n")


class LoopbackNetwork:
    """Every member on 127.0.0.1, with ports of its own."""

    kind = NetworkKind.LOOPBACK

    def __init__(self, server: Server) -> None:
        del server

    def choosing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def plan(self, record: Record, directory: Path, count: int) -> Record:
        tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        used = listening_ports(table.read_text() for table in tables if table.exists())
        members = record.members
        if not members or any(port in used for member in members for port in (member.port, member.x_port)):
            try:
                members = loopback_members(count, choose_base_port(count, used))
            except LookupError as exc:
                raise SandboxError(f"no room for the members: {exc}") from exc
        return replace(record, network=self.kind, tag="", subnet="", host_address="127.0.0.1", members=members)

    def create(self, record: Record) -> None:
        pass

    def remove(self, record: Record) -> None:
        pass

    def exists(self, record: Record) -> bool:
        return True

    def enter(self, record: Record, name: str) -> list[str]:
        return []

    def cut(self, record: Record, name: str, side: Side, direction: Direction) -> None:
        raise SandboxError(f"a cut {NEEDS_ROOT}")

    def heal(self, record: Record, name: str) -> None:
        pass


KINDS: dict[NetworkKind, Callable[[Server], Network]] = {
    NetworkKind.NAMESPACES: NamespaceNetwork,
    NetworkKind.LOOPBACK: LoopbackNetwork,
}


def choose_network(server: Server) -> Network:
    """Return the network that this user can have."""
    return KINDS[NetworkKind.NAMESPACES if os.geteuid() == 0 else NetworkKind.LOOPBACK](server)


def network_tag(pid: int) -> str:
    """Return the tag of the sandbox whose network a process stands in, or nothing."""
    for path in NAMESPACES.glob("fl-*-*"):
        match = OWN_NAME.match(path.name)
        with suppress(OSError):
            if match and path.samefile(f"/proc/{pid}/ns/net"):
                return match[1]
    return ""


def remove_network(tag: str) -> None:
    """Remove a sandbox's namespaces, with which its link ends.

    Raises:
        SandboxError: the link stays.
    """
    link = f"fl-{tag}"
    for path in NAMESPACES.glob(f"{link}-*"):
        while _is_mounted(path):
            run_program([need_program("umount", "mount"), "--lazy", str(path)])
        path.unlink(missing_ok=True)
    # Not ours where it is a mount, or holds others' namespaces.
    with suppress(OSError):
        NAMESPACES.rmdir()
    if not wait_until(lambda: link not in _links(), LINK_TIMEOUT):
        raise SandboxError(f"the link {link} is still there: `ip link delete {link}` removes it")


@contextmanager
def _choosing() -> Iterator[None]:
    with locked(LOCK):
        try:
            yield
        finally:
            LOCK.unlink(missing_ok=True)


def _link(record: Record) -> str:
    return f"fl-{record.tag}"


def _without_ipv6(link: str) -> list[str]:
    # Nobody here would use the address that a link draws by itself. Kernels without IPv6 do not know the word.
    return [f"link set {link} addrgenmode none"] if Path("/proc/sys/net/ipv6").exists() else []


def _links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _namespace(record: Record, name: str) -> Path:
    return NAMESPACES / f"{_link(record)}-{name}"


def _is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())
