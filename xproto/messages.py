"""Messages: what client and server say to each other, as frozen values. Knows neither bytes nor what may follow what.

Notices and columns are messages too: see `xproto.notices` and `xproto.rows`. `xproto.codec` makes frames of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from xproto.notices import Notice
from xproto.rows import Column

#: A statement's argument or a capability's value.
Arg: TypeAlias = "bool | int | float | str | bytes | Sequence[Arg] | Mapping[str, Arg] | None"


@dataclass(frozen=True, slots=True)
class CapabilitiesGet:
    """Client: what can you do?"""


@dataclass(frozen=True, slots=True)
class CapabilitiesSet:
    """Client: use these capabilities."""

    values: Mapping[str, Arg]


@dataclass(frozen=True, slots=True)
class ConClose:
    """Client: good-bye."""


@dataclass(frozen=True, slots=True)
class AuthenticateStart:
    """Client: log me in by this mechanism."""

    mechanism: str
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AuthenticateContinue:
    """Server: a challenge. Client: the answer to it."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StmtExecute:
    """Client: run this statement."""

    statement: str
    args: tuple[Arg, ...] = ()
    namespace: str = "sql"


@dataclass(frozen=True, slots=True)
class Ok:
    """Server: done."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Error:
    """Server: refused or failed; `fatal` if it ends the session."""

    code: int
    sql_state: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Server: what it can do."""

    values: Mapping[str, Arg]


@dataclass(frozen=True, slots=True)
class AuthenticateOk:
    """Server: logged in."""


@dataclass(frozen=True, slots=True)
class Row:
    """Server: one row, fields still encoded."""

    fields: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FetchDone:
    """Server: no more rows."""


@dataclass(frozen=True, slots=True)
class FetchDoneMoreResultsets:
    """Server: no more rows in this result set, another one follows."""


@dataclass(frozen=True, slots=True)
class FetchDoneMoreOutParams:
    """Server: no more rows in this result set, a procedure's OUT parameters follow as one more."""


@dataclass(frozen=True, slots=True)
class StmtExecuteOk:
    """Server: the statement has ended well."""


ClientMessage = CapabilitiesGet | CapabilitiesSet | ConClose | AuthenticateStart | AuthenticateContinue | StmtExecute
ServerMessage = (
    Ok
    | Error
    | Capabilities
    | AuthenticateContinue
    | AuthenticateOk
    | Notice
    | Column
    | Row
    | FetchDone
    | FetchDoneMoreResultsets
    | FetchDoneMoreOutParams
    | StmtExecuteOk
)
