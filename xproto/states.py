"""Where a session is, and what its server may say there: one table. Knows neither bytes nor what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from xproto.messages import (
    AuthenticateContinue,
    AuthenticateOk,
    Capabilities,
    FetchDone,
    FetchDoneMoreOutParams,
    FetchDoneMoreResultsets,
    Ok,
    Row,
    ServerMessage,
    StmtExecuteOk,
)
from xproto.rows import Column


class State(Enum):
    """Where a session is."""

    NEW = auto()
    READING_CAPABILITIES = auto()
    NEGOTIATED = auto()
    ASKING_TLS = auto()
    TLS_HANDSHAKE = auto()
    AUTHENTICATING = auto()
    CHALLENGED = auto()
    ANSWERED = auto()
    ANONYMOUS = auto()
    IDLE = auto()
    EXECUTING = auto()
    READING_COLUMNS = auto()
    READING_ROWS = auto()
    NEXT_RESULT = auto()
    RESULTS_READ = auto()
    CLOSING = auto()
    CLOSED = auto()


#: What the server may say where, and what state that leads to. Anything else is a RemoteProtocolError. Two messages may
#: come anywhere and are not here: a notice changes no state, what an error means is in `Client._refused`. The answer to
#: a ping is taken before this table is asked.
RECEIVED: Mapping[tuple[State, type[ServerMessage]], State] = {
    (State.READING_CAPABILITIES, Capabilities): State.NEGOTIATED,
    (State.ASKING_TLS, Ok): State.TLS_HANDSHAKE,
    (State.AUTHENTICATING, AuthenticateContinue): State.CHALLENGED,
    (State.AUTHENTICATING, AuthenticateOk): State.IDLE,
    (State.ANSWERED, AuthenticateOk): State.IDLE,
    (State.EXECUTING, Column): State.READING_COLUMNS,
    (State.EXECUTING, StmtExecuteOk): State.IDLE,
    (State.READING_COLUMNS, Column): State.READING_COLUMNS,
    (State.READING_COLUMNS, Row): State.READING_ROWS,
    (State.READING_COLUMNS, FetchDone): State.RESULTS_READ,
    (State.READING_COLUMNS, FetchDoneMoreResultsets): State.NEXT_RESULT,
    (State.READING_COLUMNS, FetchDoneMoreOutParams): State.NEXT_RESULT,
    (State.READING_ROWS, Row): State.READING_ROWS,
    (State.READING_ROWS, FetchDone): State.RESULTS_READ,
    (State.READING_ROWS, FetchDoneMoreResultsets): State.NEXT_RESULT,
    (State.READING_ROWS, FetchDoneMoreOutParams): State.NEXT_RESULT,
    (State.NEXT_RESULT, Column): State.READING_COLUMNS,
    (State.NEXT_RESULT, FetchDone): State.RESULTS_READ,
    (State.RESULTS_READ, StmtExecuteOk): State.IDLE,
    (State.CLOSING, Ok): State.CLOSED,
}

#: Where a statement is running.
STATEMENT_STATES = frozenset(
    {State.EXECUTING, State.READING_COLUMNS, State.READING_ROWS, State.NEXT_RESULT, State.RESULTS_READ}
)
