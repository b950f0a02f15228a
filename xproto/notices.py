"""Notices: what a server says unasked, as frozen values. They may come between any two messages and are never a reply.

The type numbers are MySQL's `Mysqlx.Notice` definitions. A value that is not known here stays a plain number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

#: What `enable_notices` is asked for to hear of a group's changes. Off in every new session.
GROUP_REPLICATION_NOTICES: tuple[str, ...] = (
    "group_replication/membership/quorum_loss",
    "group_replication/membership/view",
    "group_replication/status/role_change",
    "group_replication/status/state_change",
)


class NoticeType(IntEnum):
    """`Mysqlx.Notice.Frame.Type`."""

    WARNING = 1
    SESSION_VARIABLE_CHANGED = 2
    SESSION_STATE_CHANGED = 3
    GROUP_REPLICATION_STATE_CHANGED = 4
    SERVER_HELLO = 5


class WarningLevel(IntEnum):
    """`Mysqlx.Notice.Warning.Level`."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


class SessionParameter(IntEnum):
    """`Mysqlx.Notice.SessionStateChanged.Parameter`."""

    CURRENT_SCHEMA = 1
    ACCOUNT_EXPIRED = 2
    GENERATED_INSERT_ID = 3
    ROWS_AFFECTED = 4
    ROWS_FOUND = 5
    ROWS_MATCHED = 6
    TRX_COMMITTED = 7
    TRX_ROLLEDBACK = 9
    PRODUCED_MESSAGE = 10
    CLIENT_ID_ASSIGNED = 11
    GENERATED_DOCUMENT_IDS = 12


class GroupChange(IntEnum):
    """`Mysqlx.Notice.GroupReplicationStateChanged.Type`."""

    MEMBERSHIP_QUORUM_LOSS = 1
    MEMBERSHIP_VIEW_CHANGE = 2
    MEMBER_ROLE_CHANGE = 3
    MEMBER_STATE_CHANGE = 4


NoticeValue = None | bool | int | float | str | bytes


@dataclass(frozen=True, slots=True)
class ServerWarning:
    """A warning, note or error about a statement (local scope) or about the session itself (global scope).

    An ERROR of global scope is how a server says that it ends a session: 1053 (shutdown), 3169 (killed, and in offline
    mode), 1810 (idle for too long). Seen on 9.7.4; it closes the connection at once after it.
    """

    level: WarningLevel | int
    code: int
    message: str
    global_scope: bool = False


@dataclass(frozen=True, slots=True)
class SessionVariableChanged:
    """A session variable has a new value."""

    name: str
    value: NoticeValue


@dataclass(frozen=True, slots=True)
class SessionStateChanged:
    """What a statement or the login changed: rows affected, the client id, ..."""

    parameter: SessionParameter | int
    values: tuple[NoticeValue, ...]


@dataclass(frozen=True, slots=True)
class GroupReplicationStateChanged:
    """Something changed in the member's group. A hint to look now, never a fact by itself.

    Args:
        change: what kind of change.
        view_id: the view in which it was seen, `prefix:counter`; empty if the server named none.
    """

    change: GroupChange | int
    view_id: str


@dataclass(frozen=True, slots=True)
class ServerHello:
    """The server's first words on a new connection, before any credential: a sign of life and of the protocol."""


@dataclass(frozen=True, slots=True)
class UnknownNotice:
    """A notice of a type that is not known here, payload as it came."""

    type: int
    payload: bytes


Notice = (
    ServerWarning
    | SessionVariableChanged
    | SessionStateChanged
    | GroupReplicationStateChanged
    | ServerHello
    | UnknownNotice
)
