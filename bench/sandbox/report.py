"""What the sandbox tells people and scripts: the status table, the environment document, query results. Text only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member now.

    Attributes:
        process: `running` or `stopped`.
        state: Group Replication's word, from the majority's view; empty when the member does not answer.
        role: PRIMARY or SECONDARY, for members that are ONLINE; else empty.
        cut: from whom and in which direction it is cut off, such as `peers both`; else empty.
    """

    name: str
    host: str
    port: int
    x_port: int
    process: str
    state: str
    role: str
    uuid: str
    cut: str


@dataclass(frozen=True, slots=True)
class Status:
    """All members now."""

    mode: str
    members: tuple[MemberStatus, ...]

    @property
    def all_online(self) -> bool:
        return all(member.state == "ONLINE" for member in self.members)

    @property
    def primary(self) -> str | None:
        """The name of the one primary, or nothing when there is none or more than one."""
        names = [member.name for member in self.members if member.role == "PRIMARY"]
        return names[0] if len(names) == 1 else None

    def member(self, name: str) -> MemberStatus:
        """Return one member's status."""
        return next(member for member in self.members if member.name == name)

    def document(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"mode": self.mode, "all_online": self.all_online, "members": [asdict(row) for row in self.members]}


def status_table(status: Status) -> str:
    """Return the status as a table for people."""
    rows = [
        (row.name, f"{row.host}:{row.port}", row.process, row.state, row.role, row.uuid, row.cut)
        for row in status.members
    ]
    return table(("name", "address", "process", "state", "role", "uuid", "cut"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return left-aligned columns; an absent value shows as `-`."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def shell_exports(document: Mapping[str, Any]) -> str:
    """Return the environment document as `export` lines. Passwords stay in their files."""
    members = [f"{row['name']}={row['host']}:{row['port']}/{row['x_port']}" for row in document["members"]]
    variables = {
        "DIR": document["dir"],
        "NETWORK": document["network"],
        "MODE": document["mode"],
        "HOST_ADDRESS": document["host_address"],
        "CA_FILE": document["ca_file"],
        "MYSQL_CLIENT": shlex.join(document["mysql_client"]),
        "MEMBERS": " ".join(members),
    }
    for name, account in document["accounts"].items():
        for key in ("user", "password_file", "database"):
            if key in account:
                variables[f"{name}_{key}".upper()] = account[key]
    return "".join(f"export FAIRLEAD_SANDBOX_{name}={shlex.quote(value)}\n" for name, value in variables.items())


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value) or "-"
