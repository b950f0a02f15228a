"""What a sandbox remembers of itself between two commands: frozen values and their JSON form.

Decides only: reading and writing the file is `layout`'s. It must hold no secret, since it may be read by anybody."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

FORMAT = 1
# Names become paths that are deleted, and links: a record that somebody else wrote may not choose them freely.
MEMBER_NAME = re.compile(r"mysql-[0-8]")
TAG = re.compile(r"(?:[0-9a-f]{4})?")


class Phase(StrEnum):
    """How far the sandbox in a directory is."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"


class Mode(StrEnum):
    """How the members replicate: as a group of which one or all take writes, or from one source to replicas."""

    SINGLE_PRIMARY = "single-primary"
    MULTI_PRIMARY = "multi-primary"
    REPLICATION = "replication"


class NetworkKind(StrEnum):
    """Which network the members stand in."""

    NAMESPACES = "namespaces"
    LOOPBACK = "loopback"


class ServerKind(StrEnum):
    """Where the MySQL server program comes from."""

    ROOT = "root"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Member:
    """One MySQL server, as a client reaches it.

    Attributes:
        name: `mysql-0`, `mysql-1`, …
        host: IPv4 address that clients connect to.
        port: classic protocol.
        x_port: X Protocol.
        group_port: Group Replication's own traffic (the classic port where the MYSQL communication stack is used).
        report_host: what the member calls itself in the group's view.
    """

    name: str
    host: str
    port: int
    x_port: int
    group_port: int
    report_host: str

    @property
    def index(self) -> int:
        """The number at the end of the name."""
        return int(self.name.rpartition("-")[2])

    @property
    def group_address(self) -> str:
        """Where the other members reach this one."""
        return f"{self.host}:{self.group_port}"


@dataclass(frozen=True, slots=True)
class Record:
    """One sandbox.

    Attributes:
        tag: four hex digits that its namespaces and links are named after; empty while it has none.
        subnet: the members' network in CIDR form; empty on loopback.
        host_address: the address of this machine as the members see it.
        server_path: the private root, or the mysqld that was given.
        group_name: the group's UUID.
        formed: the group has existed once, so that the data directories are worth keeping.
        boot_id: the kernel's boot id when it was brought up: after a reboot nothing of it is alive.
        directory: where it was when it was brought up; its processes are marked with this.
    """

    phase: Phase
    tag: str
    network: NetworkKind
    mode: Mode
    subnet: str
    host_address: str
    server_kind: ServerKind
    server_path: str
    group_name: str
    formed: bool
    boot_id: str
    members: tuple[Member, ...]
    directory: str = ""

    def member(self, name: str) -> Member:
        """Return the member of that name.

        Raises:
            KeyError: there is none.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise KeyError(name)

    def peers(self, name: str) -> tuple[Member, ...]:
        """Return every member but this one."""
        return tuple(member for member in self.members if member.name != name)

    def at_rest(self) -> Record:
        """Return the record of the same sandbox with nothing of it alive: what it had of the machine is let go."""
        return replace(self, phase=Phase.DOWN, tag="", boot_id="", directory="")


def encode(record: Record) -> str:
    """Return the record as a JSON document."""
    return json.dumps({"format": FORMAT, **asdict(record)}, indent=2) + "\n"


def decode(text: str) -> Record:
    """Read a record back.

    Raises:
        ValueError: it is not a record, or one of another format.
    """
    try:
        document = json.loads(text)
        found = document.pop("format")
        if found != FORMAT:
            raise ValueError(f"format {found!r}, this version reads {FORMAT}")
        members = tuple(Member(**member) for member in document.pop("members"))
        record = Record(
            phase=Phase(document.pop("phase")),
            network=NetworkKind(document.pop("network")),
            mode=Mode(document.pop("mode")),
            server_kind=ServerKind(document.pop("server_kind")),
            members=members,
            **document,
        )
        strange = [member.name for member in members if not MEMBER_NAME.fullmatch(member.name)]
        if strange or not TAG.fullmatch(record.tag):
            raise ValueError(f"not a sandbox record: it names {(*strange, record.tag)[0]!r}")
        return record
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f"not a sandbox record: {exc!r}") from exc
