"""Messages to frames and back. The one place that knows protobuf and the generated code; its exceptions end here.

Both sides' messages go both ways, since a proxy answers as a server does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import DecodeError, EncodeError, Message

from xproto import mysqlx_pb2 as pb
from xproto.errors import LocalProtocolError, RemoteProtocolError
from xproto.frames import Frame, encode_frame
from xproto.messages import (
    Arg,
    AuthenticateContinue,
    AuthenticateOk,
    AuthenticateStart,
    Capabilities,
    CapabilitiesGet,
    CapabilitiesSet,
    ClientMessage,
    ConClose,
    Error,
    FetchDone,
    FetchDoneMoreOutParams,
    FetchDoneMoreResultsets,
    Ok,
    Row,
    ServerMessage,
    StmtExecute,
    StmtExecuteOk,
)
from xproto.notices import (
    GroupChange,
    GroupReplicationStateChanged,
    Notice,
    NoticeType,
    NoticeValue,
    ServerHello,
    ServerWarning,
    SessionParameter,
    SessionStateChanged,
    SessionVariableChanged,
    UnknownNotice,
    WarningLevel,
)
from xproto.rows import Column, ColumnType

_NOTICE = 11
# Columns and notices, byte for byte the same at each answer to a probe's question: kept decoded, since they are frozen
# and hold no secret. The bound on their size keeps what is kept below a megabyte.
_REPEATED = frozenset({11, 12})
_REPEATED_BYTES = 64
_FATAL = 1
_GLOBAL_SCOPE, _LOCAL_SCOPE = 1, 2
_SCALAR, _OBJECT, _ARRAY = 1, 2, 3
_SINT, _UINT, _NULL, _OCTETS, _DOUBLE, _FLOAT, _BOOL, _STRING = range(1, 9)
# Deeper nesting than any capability or argument has; protobuf itself stops at 100.
_DEPTH = 16

_M = TypeVar("_M", bound=Message)
_E = TypeVar("_E", bound=IntEnum)
_T = TypeVar("_T")


def encode_error(code: int, sql_state: str, message: str, *, fatal: bool = True) -> bytes:
    """One complete `Error` frame, as a server would send it."""
    return encode_server(Error(code, sql_state, message, fatal))


def decode_server(frame: Frame) -> ServerMessage:
    """The message in a frame that a server sent.

    Raises:
        RemoteProtocolError: a type or a payload that no server sends, or what was never asked for (cursors, ...).
    """
    if frame.type in _REPEATED and len(frame.payload) <= _REPEATED_BYTES:
        return _decode_repeated(frame.type, frame.payload)
    return _decode(frame, _FROM_SERVER)


@lru_cache(maxsize=256)
def _decode_repeated(frame_type: int, payload: bytes) -> ServerMessage:
    return _decode(Frame(frame_type, payload), _FROM_SERVER)


def decode_client(frame: Frame) -> ClientMessage:
    """The message in a frame that a client sent.

    Raises:
        RemoteProtocolError: a type or a payload that is not known here.
    """
    return _decode(frame, _FROM_CLIENT)


def encode_client(message: ClientMessage) -> bytes:
    """One frame with a client's message.

    Raises:
        LocalProtocolError: an argument that the protocol has no form for.
    """
    return _encode(_client_form, message)


def encode_statement(statement: str, args: tuple[Arg, ...], namespace: str) -> bytes:
    """The frame of a `StmtExecute`. Made once for a statement without arguments, since a probe asks one for ever.

    Raises:
        LocalProtocolError: an argument that the protocol has no form for.
    """
    if args:
        return encode_client(StmtExecute(statement, args, namespace))
    return _encode_repeated(statement, namespace)


@lru_cache(maxsize=16)  # questions of probes; what else is asked pushes them out, at no harm
def _encode_repeated(statement: str, namespace: str) -> bytes:
    return encode_client(StmtExecute(statement, (), namespace))


def encode_server(message: ServerMessage) -> bytes:
    """One frame with a server's message.

    Raises:
        LocalProtocolError: a value that the protocol has no form for.
    """
    return _encode(_server_form, message)


def _decode(frame: Frame, decoders: Mapping[int, Callable[[bytes], _T]]) -> _T:
    decoder = decoders.get(frame.type)
    if decoder is None:
        raise RemoteProtocolError(f"a message of type {frame.type}, which does not belong here")
    try:
        return decoder(frame.payload)
    except DecodeError as exc:
        raise RemoteProtocolError(f"a message of type {frame.type} that cannot be decoded: {exc}") from exc


def _encode(form: Callable[[_T], tuple[int, Message | None]], message: _T) -> bytes:
    try:
        frame_type, content = form(message)
        return encode_frame(frame_type, content.SerializeToString() if content is not None else b"")
    except (EncodeError, ValueError) as exc:  # ValueError: a number out of range, a text that has no UTF-8 form
        raise LocalProtocolError(f"a {type(message).__name__} that cannot be encoded: {exc}") from exc


def _parse(kind: type[_M], payload: bytes) -> _M:
    message = kind()
    message.ParseFromString(payload)
    if not message.IsInitialized():  # ParseFromString does not look for what is required
        raise DecodeError(f"required fields are missing in {kind.__name__}")
    return message


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _named(names: type[_E], number: int) -> _E | int:
    """The number's name, or the number itself where a newer server knows more than we do."""
    try:
        return names(number)
    except ValueError:
        return number


# --- client messages --------------------------------------------------------------------------------------------------


def _client_form(message: ClientMessage) -> tuple[int, Message | None]:
    match message:
        case CapabilitiesGet():
            return 1, None
        case CapabilitiesSet(values):
            return 2, pb.CapabilitiesSet(capabilities=_capabilities(values))
        case ConClose():
            return 3, None
        case AuthenticateStart(mechanism, data):
            return 4, pb.AuthenticateStart(mech_name=mechanism.encode(), auth_data=data)
        case AuthenticateContinue(data):
            return 5, pb.AuthenticateContinue(auth_data=data)
        case StmtExecute(statement, args, namespace):
            return 12, pb.StmtExecute(stmt=statement.encode(), args=map(_to_any, args), namespace=namespace.encode())


def _capabilities_set(payload: bytes) -> CapabilitiesSet:
    return CapabilitiesSet(_capability_values(_parse(pb.CapabilitiesSet, payload).capabilities))


def _authenticate_start(payload: bytes) -> AuthenticateStart:
    message = _parse(pb.AuthenticateStart, payload)
    return AuthenticateStart(_text(message.mech_name), message.auth_data)


def _authenticate_continue(payload: bytes) -> AuthenticateContinue:
    return AuthenticateContinue(_parse(pb.AuthenticateContinue, payload).auth_data)


def _stmt_execute(payload: bytes) -> StmtExecute:
    message = _parse(pb.StmtExecute, payload)
    return StmtExecute(_text(message.stmt), tuple(map(_from_any, message.args)), _text(message.namespace))


_FROM_CLIENT: dict[int, Callable[[bytes], ClientMessage]] = {
    1: lambda _: CapabilitiesGet(),
    2: _capabilities_set,
    3: lambda _: ConClose(),
    4: _authenticate_start,
    5: _authenticate_continue,
    12: _stmt_execute,
}


# --- server messages --------------------------------------------------------------------------------------------------


def _server_form(message: ServerMessage) -> tuple[int, Message | None]:
    match message:
        case Ok(text):
            return 0, pb.Ok(msg=text.encode())
        case Error(code, sql_state, text, fatal):
            severity = _FATAL if fatal else 0
            return 1, pb.Error(severity=severity, code=code, sql_state=sql_state.encode(), msg=text.encode())
        case Capabilities(values):
            return 2, _capabilities(values)
        case AuthenticateContinue(data):
            return 3, pb.AuthenticateContinue(auth_data=data)
        case AuthenticateOk():
            return 4, pb.AuthenticateOk()
        case Column():
            return 12, _column_form(message)
        case Row(fields):
            return 13, pb.Row(field=fields)
        case FetchDone():
            return 14, None
        case FetchDoneMoreResultsets():
            return 16, None
        case StmtExecuteOk():
            return 17, None
        case FetchDoneMoreOutParams():
            return 18, None
        case _:
            return _NOTICE, _notice_form(message)


def _error(payload: bytes) -> Error:
    message = _parse(pb.Error, payload)
    return Error(message.code, _text(message.sql_state), _text(message.msg), message.severity == _FATAL)


def _column(payload: bytes) -> Column:
    message = _parse(pb.ColumnMetaData, payload)
    column_type = _named(ColumnType, message.type)
    if not isinstance(column_type, ColumnType):
        raise RemoteProtocolError(f"a column of type {column_type}, which is not known")
    return Column(
        _text(message.name),
        column_type,
        message.collation,
        message.content_type,
        message.fractional_digits,
        message.length,
        message.flags,
    )


def _column_form(column: Column) -> Message:
    return pb.ColumnMetaData(
        type=column.type,
        name=column.name.encode(),
        collation=column.collation,
        content_type=column.content_type,
        fractional_digits=column.fractional_digits,
        length=column.length,
        flags=column.flags,
    )


def _notice(payload: bytes) -> Notice:
    frame = _parse(pb.NoticeFrame, payload)
    decoder = _NOTICES.get(frame.type)
    return decoder(frame) if decoder else UnknownNotice(frame.type, frame.payload)


def _warning(frame: pb.NoticeFrame) -> ServerWarning:
    message = _parse(pb.Warning, frame.payload)
    return ServerWarning(
        _named(WarningLevel, message.level), message.code, _text(message.msg), frame.scope == _GLOBAL_SCOPE
    )


def _variable_changed(frame: pb.NoticeFrame) -> SessionVariableChanged:
    message = _parse(pb.SessionVariableChanged, frame.payload)
    return SessionVariableChanged(
        _text(message.param), _from_scalar(message.value) if message.HasField("value") else None
    )


def _state_changed(frame: pb.NoticeFrame) -> SessionStateChanged:
    message = _parse(pb.SessionStateChanged, frame.payload)
    return SessionStateChanged(_named(SessionParameter, message.param), tuple(map(_from_scalar, message.value)))


def _group_changed(frame: pb.NoticeFrame) -> GroupReplicationStateChanged:
    message = _parse(pb.GroupReplicationStateChanged, frame.payload)
    return GroupReplicationStateChanged(_named(GroupChange, message.type), _text(message.view_id))


def _notice_form(notice: Notice) -> Message:
    number, scope, payload = _notice_parts(notice)
    return pb.NoticeFrame(type=number, scope=scope, payload=payload)


def _notice_parts(notice: Notice) -> tuple[int, int, bytes | None]:
    """A notice's type, scope and payload."""
    content: Message
    match notice:
        case ServerWarning(level, code, text, global_scope):
            content = pb.Warning(level=level, code=code, msg=text.encode())
            scope = _GLOBAL_SCOPE if global_scope else _LOCAL_SCOPE
            return NoticeType.WARNING, scope, content.SerializeToString()
        case SessionVariableChanged(name, value):
            content = pb.SessionVariableChanged(param=name.encode(), value=_to_scalar(value))
            return NoticeType.SESSION_VARIABLE_CHANGED, _LOCAL_SCOPE, content.SerializeToString()
        case SessionStateChanged(parameter, values):
            content = pb.SessionStateChanged(param=parameter, value=map(_to_scalar, values))
            return NoticeType.SESSION_STATE_CHANGED, _LOCAL_SCOPE, content.SerializeToString()
        case GroupReplicationStateChanged(change, view_id):
            content = pb.GroupReplicationStateChanged(type=change, view_id=view_id.encode())
            return NoticeType.GROUP_REPLICATION_STATE_CHANGED, _GLOBAL_SCOPE, content.SerializeToString()
        case ServerHello():
            return NoticeType.SERVER_HELLO, _GLOBAL_SCOPE, None
        case UnknownNotice(unknown, payload):
            return unknown, _GLOBAL_SCOPE, payload


_NOTICES: dict[int, Callable[[pb.NoticeFrame], Notice]] = {
    NoticeType.WARNING: _warning,
    NoticeType.SESSION_VARIABLE_CHANGED: _variable_changed,
    NoticeType.SESSION_STATE_CHANGED: _state_changed,
    NoticeType.GROUP_REPLICATION_STATE_CHANGED: _group_changed,
    NoticeType.SERVER_HELLO: lambda _: ServerHello(),
}

_FROM_SERVER: dict[int, Callable[[bytes], ServerMessage]] = {
    0: lambda payload: Ok(_text(_parse(pb.Ok, payload).msg)),
    1: _error,
    2: lambda payload: Capabilities(_capability_values(_parse(pb.Capabilities, payload))),
    3: _authenticate_continue,
    4: lambda _: AuthenticateOk(),
    _NOTICE: _notice,
    12: _column,
    13: lambda payload: Row(tuple(_parse(pb.Row, payload).field)),
    14: lambda _: FetchDone(),
    16: lambda _: FetchDoneMoreResultsets(),
    17: lambda _: StmtExecuteOk(),
    18: lambda _: FetchDoneMoreOutParams(),
}


# --- values -----------------------------------------------------------------------------------------------------------


def _to_scalar(value: NoticeValue) -> pb.Scalar:
    match value:
        case None:
            return pb.Scalar(type=_NULL)
        case bool():
            return pb.Scalar(type=_BOOL, v_bool=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return pb.Scalar(type=_SINT, v_signed_int=value)
        case int() if 0 <= value < 1 << 64:
            return pb.Scalar(type=_UINT, v_unsigned_int=value)
        case float():
            return pb.Scalar(type=_DOUBLE, v_double=value)
        case str():
            return pb.Scalar(type=_STRING, v_string=pb.Scalar.String(value=value.encode()))
        case bytes():
            return pb.Scalar(type=_OCTETS, v_octets=pb.Scalar.Octets(value=value))
    raise LocalProtocolError(f"an argument of {type(value).__name__} that the protocol has no form for")


def _to_any(value: Arg, depth: int = _DEPTH) -> pb.Any:
    if depth == 0:
        raise LocalProtocolError(f"an argument nested deeper than {_DEPTH}")
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return pb.Any(type=_SCALAR, scalar=_to_scalar(value))
        case Mapping():
            entries = [pb.Object.Field(key=key.encode(), value=_to_any(item, depth - 1)) for key, item in value.items()]
            return pb.Any(type=_OBJECT, obj=pb.Object(fld=entries))
        case Sequence():
            return pb.Any(type=_ARRAY, array=pb.Array(value=[_to_any(item, depth - 1) for item in value]))
    raise LocalProtocolError(f"an argument of {type(value).__name__} that the protocol has no form for")


_SCALARS: dict[int, Callable[[pb.Scalar], NoticeValue]] = {
    _SINT: lambda scalar: scalar.v_signed_int,
    _UINT: lambda scalar: scalar.v_unsigned_int,
    _NULL: lambda _: None,
    _OCTETS: lambda scalar: scalar.v_octets.value,
    _DOUBLE: lambda scalar: scalar.v_double,
    _FLOAT: lambda scalar: scalar.v_float,
    _BOOL: lambda scalar: scalar.v_bool,
    _STRING: lambda scalar: _text(scalar.v_string.value),
}


def _from_scalar(scalar: pb.Scalar) -> NoticeValue:
    decoder = _SCALARS.get(scalar.type)
    if decoder is None:
        raise RemoteProtocolError(f"a scalar of type {scalar.type}, which is not known")
    return decoder(scalar)


def _from_any(value: pb.Any) -> Arg:
    # Depth needs no check: protobuf refuses to parse more than 100 levels.
    if value.type == _SCALAR:
        return _from_scalar(value.scalar)
    if value.type == _OBJECT:
        return {_text(entry.key): _from_any(entry.value) for entry in value.obj.fld}
    if value.type == _ARRAY:
        return [_from_any(item) for item in value.array.value]
    raise RemoteProtocolError(f"a value of type {value.type}, which is not known")


def _capabilities(values: Mapping[str, Arg]) -> pb.Capabilities:
    return pb.Capabilities(
        capabilities=[pb.Capability(name=name.encode(), value=_to_any(value)) for name, value in values.items()]
    )


def _capability_values(message: pb.Capabilities) -> dict[str, Arg]:
    return {_text(entry.name): _from_any(entry.value) for entry in message.capabilities}


#: The admin command `ping`, ready to send, and the one frame that answers it.
PING = encode_client(StmtExecute("ping", (), "mysqlx"))
PONG = encode_server(StmtExecuteOk())
