"""Columns and row values: pure decoding of the fields of a `Row` message by their column's type.

Encoding rules: MySQL's `Mysqlx.Resultset.ColumnMetaData` documentation. A zero-length field is NULL whatever the type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum

from xproto.errors import RemoteProtocolError

#: DATE and DATETIME are `str` where Python's calendar has no such day ("0000-00-00"); a SET is a tuple.
Value = int | float | str | bytes | Decimal | date | datetime | timedelta | tuple[str, ...] | None

# A varint carries 7 bits a byte: 64 bits need ten.
_VARINT_BYTES = 10
# MySQL's DECIMAL has 65 digits at most, 81 inside aggregates: 42 bytes with scale and sign.
_DECIMAL_BYTES = 64
_BINARY_COLLATION = 63
_BCD_SIGNS = {0xC: "", 0xD: "-"}


class ColumnType(IntEnum):
    """`Mysqlx.Resultset.ColumnMetaData.FieldType`."""

    SINT = 1
    UINT = 2
    DOUBLE = 5
    FLOAT = 6
    BYTES = 7
    TIME = 10
    DATETIME = 12
    SET = 15
    ENUM = 16
    BIT = 17
    DECIMAL = 18


class ContentType(IntEnum):
    """What the bytes of a BYTES column are (`Mysqlx.Resultset.ContentType_BYTES`)."""

    GEOMETRY = 1
    JSON = 2
    XML = 3


@dataclass(frozen=True, slots=True)
class Column:
    """What the server says of one column of a result.

    Args:
        name: the column's name in the result.
        type: how its fields are encoded.
        collation: MySQL's collation number; 63 is binary, 0 is none.
        content_type: for BYTES a `ContentType`, for DATETIME 1 (a date) or 2 (date and time), else 0.
        fractional_digits: digits after the point of a DECIMAL, FLOAT or DOUBLE, or 31 if they are not fixed.
        length: the declared length, in bytes for text.
        flags: MySQL's bits, which depend on the type.
    """

    name: str
    type: ColumnType
    collation: int = 0
    content_type: int = 0
    fractional_digits: int = 0
    length: int = 0
    flags: int = 0


def decode_row(fields: Sequence[bytes], columns: Sequence[Column]) -> tuple[Value, ...]:
    """The values of one row.

    Raises:
        RemoteProtocolError: more or fewer fields than columns, or a field that its type does not allow.
    """
    if len(fields) != len(columns):
        raise RemoteProtocolError(f"a row of {len(fields)} fields in a result of {len(columns)} columns")
    return tuple(
        None if not field else _DECODERS[column.type](field, column)
        for field, column in zip(fields, columns, strict=True)
    )


def _varint(field: bytes, at: int) -> tuple[int, int]:
    """The varint at position `at` of a field, and the position after it."""
    value = shift = 0
    for position in range(at, min(at + _VARINT_BYTES, len(field))):
        byte = field[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
    raise RemoteProtocolError(f"no varint ends within the field {_shown(field)}")


def _varints(field: bytes, at: int, most: int) -> list[int]:
    """All varints from position `at` to the end of a field: `most` at most."""
    values: list[int] = []
    while at < len(field):
        if len(values) == most:
            raise RemoteProtocolError(f"more than {most} numbers in the field {_shown(field)}")
        value, at = _varint(field, at)
        values.append(value)
    return values


def _shown(field: bytes) -> str:
    return f"{field[:16].hex()} ({len(field)} bytes)"


def _unsigned(field: bytes, column: Column) -> int:
    value, end = _varint(field, 0)
    if end != len(field):
        raise RemoteProtocolError(f"bytes after the number of {column.name!r}: {_shown(field)}")
    return value


def _signed(field: bytes, column: Column) -> int:
    zigzag = _unsigned(field, column)
    return (zigzag >> 1) ^ -(zigzag & 1)


def _floating(layout: str) -> Callable[[bytes, Column], float]:
    packed = struct.Struct(layout)

    def decode(field: bytes, column: Column) -> float:
        if len(field) != packed.size:
            raise RemoteProtocolError(f"{len(field)} bytes for {column.name!r}, a {column.type.name}")
        value: float = packed.unpack(field)[0]
        return value

    return decode


def _bytes(field: bytes, column: Column) -> str | bytes:
    # The extra zero byte tells an empty string from NULL.
    if field[-1]:
        raise RemoteProtocolError(f"no zero byte at the end of {column.name!r}: {_shown(field)}")
    value = field[:-1]
    if column.content_type == ContentType.JSON:
        return value.decode("utf-8", "replace")
    if column.collation in (0, _BINARY_COLLATION) or column.content_type == ContentType.GEOMETRY:
        return value
    # The session's character set is utf8mb4 unless a statement changed it. A text that is not, is still readable.
    return value.decode("utf-8", "replace")


def _enum(field: bytes, column: Column) -> str:
    if field[-1]:
        raise RemoteProtocolError(f"no zero byte at the end of {column.name!r}: {_shown(field)}")
    return field[:-1].decode("utf-8", "replace")


def _set(field: bytes, column: Column) -> tuple[str, ...]:
    # 0x01 alone is the empty set; otherwise length-prefixed strings, so that 0x00 is a set of one empty string.
    if field == b"\x01":
        return ()
    values: list[str] = []
    at = 0
    while at < len(field):
        length, at = _varint(field, at)
        if length > len(field) - at:
            raise RemoteProtocolError(f"a string of {length} bytes runs out of {column.name!r}: {_shown(field)}")
        values.append(field[at : at + length].decode("utf-8", "replace"))
        at += length
    return tuple(values)


def _decimal(field: bytes, column: Column) -> Decimal:
    # A byte of scale, a digit in each half-byte, then a half-byte 0xC (plus) or 0xD (minus), and 0 to fill the byte.
    if len(field) > _DECIMAL_BYTES:
        raise RemoteProtocolError(f"{len(field)} bytes of DECIMAL for {column.name!r}")
    scale, digits = field[0], field[1:].hex()
    digits = digits[:-1] if digits[-1:] == "0" and digits[-2:-1] in ("c", "d") else digits
    sign = _BCD_SIGNS.get(int(digits[-1], 16)) if digits else None
    if sign is None or not digits[:-1].isdecimal() or scale > len(digits) - 1:
        raise RemoteProtocolError(f"not a DECIMAL for {column.name!r}: {_shown(field)}")
    return Decimal(f"{sign}{digits[:-1]}E-{scale}")


def _time(field: bytes, column: Column) -> timedelta:
    # A sign byte (1 is minus), then hours, minutes, seconds, microseconds; zeros at the end are left out.
    hours, minutes, seconds, micros = (*_varints(field, 1, 4), 0, 0, 0, 0)[:4]
    if field[0] > 1:
        raise RemoteProtocolError(f"not a TIME for {column.name!r}: {_shown(field)}")
    try:
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=micros)
    except OverflowError as exc:
        raise RemoteProtocolError(f"not a TIME for {column.name!r}: {_shown(field)}") from exc
    return -value if field[0] else value


def _datetime(field: bytes, column: Column) -> date | datetime | str:
    # Year, month, day, and unless it is a date: hour, minute, second, microsecond; zeros at the end are left out.
    numbers = _varints(field, 0, 7)
    if len(numbers) < 3:
        raise RemoteProtocolError(f"not a DATETIME for {column.name!r}: {_shown(field)}")
    year, month, day, hour, minute, second, micro = (*numbers, 0, 0, 0, 0)[:7]
    dated = column.content_type == 1 or (column.content_type != 2 and len(numbers) == 3)
    try:
        return date(year, month, day) if dated else datetime(year, month, day, hour, minute, second, micro)
    except (ValueError, OverflowError):
        text = f"{year:04}-{month:02}-{day:02}"
        return text if dated else f"{text} {hour:02}:{minute:02}:{second:02}" + (f".{micro:06}" if micro else "")


_DECODERS: dict[ColumnType, Callable[[bytes, Column], Value]] = {
    ColumnType.SINT: _signed,
    ColumnType.UINT: _unsigned,
    ColumnType.DOUBLE: _floating("<d"),
    ColumnType.FLOAT: _floating("<f"),
    ColumnType.BYTES: _bytes,
    ColumnType.TIME: _time,
    ColumnType.DATETIME: _datetime,
    ColumnType.SET: _set,
    ColumnType.ENUM: _enum,
    ColumnType.BIT: _unsigned,
    ColumnType.DECIMAL: _decimal,
}
