from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scalar(_message.Message):
    __slots__ = ("type", "v_signed_int", "v_unsigned_int", "v_octets", "v_double", "v_float", "v_bool", "v_string")
    class String(_message.Message):
        __slots__ = ("value", "collation")
        VALUE_FIELD_NUMBER: _ClassVar[int]
        COLLATION_FIELD_NUMBER: _ClassVar[int]
        value: bytes
        collation: int
        def __init__(self, value: _Optional[bytes] = ..., collation: _Optional[int] = ...) -> None: ...
    class Octets(_message.Message):
        __slots__ = ("value", "content_type")
        VALUE_FIELD_NUMBER: _ClassVar[int]
        CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
        value: bytes
        content_type: int
        def __init__(self, value: _Optional[bytes] = ..., content_type: _Optional[int] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    V_SIGNED_INT_FIELD_NUMBER: _ClassVar[int]
    V_UNSIGNED_INT_FIELD_NUMBER: _ClassVar[int]
    V_OCTETS_FIELD_NUMBER: _ClassVar[int]
    V_DOUBLE_FIELD_NUMBER: _ClassVar[int]
    V_FLOAT_FIELD_NUMBER: _ClassVar[int]
    V_BOOL_FIELD_NUMBER: _ClassVar[int]
    V_STRING_FIELD_NUMBER: _ClassVar[int]
    type: int
    v_signed_int: int
    v_unsigned_int: int
    v_octets: Scalar.Octets
    v_double: float
    v_float: float
    v_bool: bool
    v_string: Scalar.String
    def __init__(self, type: _Optional[int] = ..., v_signed_int: _Optional[int] = ..., v_unsigned_int: _Optional[int] = ..., v_octets: _Optional[_Union[Scalar.Octets, _Mapping]] = ..., v_double: _Optional[float] = ..., v_float: _Optional[float] = ..., v_bool: _Optional[bool] = ..., v_string: _Optional[_Union[Scalar.String, _Mapping]] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("fld",)
    class Field(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        value: Any
        def __init__(self, key: _Optional[bytes] = ..., value: _Optional[_Union[Any, _Mapping]] = ...) -> None: ...
    FLD_FIELD_NUMBER: _ClassVar[int]
    fld: _containers.RepeatedCompositeFieldContainer[Object.Field]
    def __init__(self, fld: _Optional[_Iterable[_Union[Object.Field, _Mapping]]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _containers.RepeatedCompositeFieldContainer[Any]
    def __init__(self, value: _Optional[_Iterable[_Union[Any, _Mapping]]] = ...) -> None: ...

class Any(_message.Message):
    __slots__ = ("type", "scalar", "obj", "array")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SCALAR_FIELD_NUMBER: _ClassVar[int]
    OBJ_FIELD_NUMBER: _ClassVar[int]
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    type: int
    scalar: Scalar
    obj: Object
    array: Array
    def __init__(self, type: _Optional[int] = ..., scalar: _Optional[_Union[Scalar, _Mapping]] = ..., obj: _Optional[_Union[Object, _Mapping]] = ..., array: _Optional[_Union[Array, _Mapping]] = ...) -> None: ...

class Capability(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: Any
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[_Union[Any, _Mapping]] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("capabilities",)
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    capabilities: _containers.RepeatedCompositeFieldContainer[Capability]
    def __init__(self, capabilities: _Optional[_Iterable[_Union[Capability, _Mapping]]] = ...) -> None: ...

class CapabilitiesSet(_message.Message):
    __slots__ = ("capabilities",)
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    capabilities: Capabilities
    def __init__(self, capabilities: _Optional[_Union[Capabilities, _Mapping]] = ...) -> None: ...

class AuthenticateStart(_message.Message):
    __slots__ = ("mech_name", "auth_data", "initial_response")
    MECH_NAME_FIELD_NUMBER: _ClassVar[int]
    AUTH_DATA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    mech_name: bytes
    auth_data: bytes
    initial_response: bytes
    def __init__(self, mech_name: _Optional[bytes] = ..., auth_data: _Optional[bytes] = ..., initial_response: _Optional[bytes] = ...) -> None: ...

class AuthenticateContinue(_message.Message):
    __slots__ = ("auth_data",)
    AUTH_DATA_FIELD_NUMBER: _ClassVar[int]
    auth_data: bytes
    def __init__(self, auth_data: _Optional[bytes] = ...) -> None: ...

class AuthenticateOk(_message.Message):
    __slots__ = ("auth_data",)
    AUTH_DATA_FIELD_NUMBER: _ClassVar[int]
    auth_data: bytes
    def __init__(self, auth_data: _Optional[bytes] = ...) -> None: ...

class Ok(_message.Message):
    __slots__ = ("msg",)
    MSG_FIELD_NUMBER: _ClassVar[int]
    msg: bytes
    def __init__(self, msg: _Optional[bytes] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("severity", "code", "msg", "sql_state")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    SQL_STATE_FIELD_NUMBER: _ClassVar[int]
    severity: int
    code: int
    msg: bytes
    sql_state: bytes
    def __init__(self, severity: _Optional[int] = ..., code: _Optional[int] = ..., msg: _Optional[bytes] = ..., sql_state: _Optional[bytes] = ...) -> None: ...

class StmtExecute(_message.Message):
    __slots__ = ("stmt", "args", "namespace", "compact_metadata")
    STMT_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    COMPACT_METADATA_FIELD_NUMBER: _ClassVar[int]
    stmt: bytes
    args: _containers.RepeatedCompositeFieldContainer[Any]
    namespace: bytes
    compact_metadata: bool
    def __init__(self, stmt: _Optional[bytes] = ..., args: _Optional[_Iterable[_Union[Any, _Mapping]]] = ..., namespace: _Optional[bytes] = ..., compact_metadata: _Optional[bool] = ...) -> None: ...

class ColumnMetaData(_message.Message):
    __slots__ = ("type", "name", "original_name", "table", "original_table", "schema", "catalog", "collation", "fractional_digits", "length", "flags", "content_type")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_NAME_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TABLE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    COLLATION_FIELD_NUMBER: _ClassVar[int]
    FRACTIONAL_DIGITS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    type: int
    name: bytes
    original_name: bytes
    table: bytes
    original_table: bytes
    schema: bytes
    catalog: bytes
    collation: int
    fractional_digits: int
    length: int
    flags: int
    content_type: int
    def __init__(self, type: _Optional[int] = ..., name: _Optional[bytes] = ..., original_name: _Optional[bytes] = ..., table: _Optional[bytes] = ..., original_table: _Optional[bytes] = ..., schema: _Optional[bytes] = ..., catalog: _Optional[bytes] = ..., collation: _Optional[int] = ..., fractional_digits: _Optional[int] = ..., length: _Optional[int] = ..., flags: _Optional[int] = ..., content_type: _Optional[int] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("field",)
    FIELD_FIELD_NUMBER: _ClassVar[int]
    field: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, field: _Optional[_Iterable[bytes]] = ...) -> None: ...

class NoticeFrame(_message.Message):
    __slots__ = ("type", "scope", "payload")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    type: int
    scope: int
    payload: bytes
    def __init__(self, type: _Optional[int] = ..., scope: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("level", "code", "msg")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    level: int
    code: int
    msg: bytes
    def __init__(self, level: _Optional[int] = ..., code: _Optional[int] = ..., msg: _Optional[bytes] = ...) -> None: ...

class SessionVariableChanged(_message.Message):
    __slots__ = ("param", "value")
    PARAM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    param: bytes
    value: Scalar
    def __init__(self, param: _Optional[bytes] = ..., value: _Optional[_Union[Scalar, _Mapping]] = ...) -> None: ...

class SessionStateChanged(_message.Message):
    __slots__ = ("param", "value")
    PARAM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    param: int
    value: _containers.RepeatedCompositeFieldContainer[Scalar]
    def __init__(self, param: _Optional[int] = ..., value: _Optional[_Iterable[_Union[Scalar, _Mapping]]] = ...) -> None: ...

class GroupReplicationStateChanged(_message.Message):
    __slots__ = ("type", "view_id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    type: int
    view_id: bytes
    def __init__(self, type: _Optional[int] = ..., view_id: _Optional[bytes] = ...) -> None: ...
