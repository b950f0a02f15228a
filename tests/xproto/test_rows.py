"""Row values against what a real server sent, and against bytes that no server sends."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xproto.errors import RemoteProtocolError
from xproto.rows import Column, ColumnType, Value, decode_row

T = ColumnType

# Captured from MySQL 9.7.4 with character_set_results = utf8mb4: what was selected, its column's type, collation and
# content type, and its field. The values are what was stored, not what the decoder said.
VECTORS: list[tuple[str, ColumnType, int, int, str, Value]] = [
    ("tinyint -1", T.SINT, 0, 0, "01", -1),
    ("int 0", T.SINT, 0, 0, "00", 0),
    ("true", T.SINT, 0, 0, "02", 1),
    ("int min", T.SINT, 0, 0, "ffffffff0f", -(1 << 31)),
    ("bigint min", T.SINT, 0, 0, "ffffffffffffffffff01", -(1 << 63)),
    ("bigint unsigned max", T.UINT, 0, 0, "ffffffffffffffffff01", (1 << 64) - 1),
    ("year 2026", T.UINT, 0, 0, "ea0f", 2026),
    ("double -1.5", T.DOUBLE, 0, 0, "000000000000f8bf", -1.5),
    ("pi()", T.DOUBLE, 0, 0, "182d4454fb210940", math.pi),
    ("float 0.5 by the encoding rules", T.FLOAT, 0, 0, "0000003f", 0.5),
    ("decimal(10,3) -12.345", T.DECIMAL, 0, 0, "0312345d", Decimal("-12.345")),
    ("decimal(10,3) 0", T.DECIMAL, 0, 0, "030000c0", Decimal("0.000")),
    ("decimal(10,3) 0.5", T.DECIMAL, 0, 0, "030500c0", Decimal("0.500")),
    ("decimal(5,0) 99999", T.DECIMAL, 0, 0, "0099999c", Decimal(99999)),
    ("sum(1)", T.DECIMAL, 0, 0, "001c", Decimal(1)),
    (
        "decimal(65,30)",
        T.DECIMAL,
        0,
        0,
        "1e1000000000000000000000000000001c",
        Decimal("1.000000000000000000000000000001"),
    ),
    ("65 digits", T.DECIMAL, 0, 0, "01" + "99" * 32 + "9c", Decimal("9" * 64 + ".9")),
    ("varchar", T.BYTES, 255, 0, "68c3a96c6c6f20e697a5e69cac00", "héllo 日本"),
    ("latin1 varchar, converted by the server", T.BYTES, 255, 0, "636166c3a900", "café"),
    ("text ''", T.BYTES, 255, 0, "00", ""),
    ("binary(3)", T.BYTES, 63, 0, "00010200", b"\0\1\2"),
    ("varbinary", T.BYTES, 63, 0, "00ff0000", b"\0\xff\0"),
    ("blob ''", T.BYTES, 63, 0, "00", b""),
    ("json column", T.BYTES, 63, 2, "7b226b223a20317d00", '{"k": 1}'),
    ("cast('1' as json)", T.BYTES, 46, 2, "3100", "1"),
    (
        "geometry",
        T.BYTES,
        0,
        1,
        "000000000101000000000000000000f03f000000000000004000",
        bytes.fromhex("000000000101000000000000000000f03f0000000000000040"),
    ),
    ("b'101'", T.BYTES, 63, 0, "0500", b"\5"),
    ("time -838:59:59", T.TIME, 0, 0, "01c6063b3b", -timedelta(hours=838, minutes=59, seconds=59)),
    ("time 00:00:00", T.TIME, 0, 0, "00", timedelta(0)),
    ("time 12:34:56", T.TIME, 0, 0, "000c2238", timedelta(hours=12, minutes=34, seconds=56)),
    ("time 01:00:00.5", T.TIME, 0, 0, "00010000a0c21e", timedelta(hours=1, microseconds=500_000)),
    ("time -00:00:01", T.TIME, 0, 0, "01000001", timedelta(seconds=-1)),
    ("timediff -2h", T.TIME, 0, 0, "0102", timedelta(hours=-2)),
    ("date", T.DATETIME, 0, 1, "ea0f0b14", date(2026, 11, 20)),
    ("date 0000-00-00", T.DATETIME, 0, 1, "000000", "0000-00-00"),
    ("date 2026-00-00", T.DATETIME, 0, 1, "ea0f0000", "2026-00-00"),
    ("datetime at midnight", T.DATETIME, 0, 2, "ea0f0b14", datetime(2026, 11, 20)),
    ("datetime 10:00", T.DATETIME, 0, 2, "ea0f0b140a", datetime(2026, 11, 20, 10)),
    ("datetime(6)", T.DATETIME, 0, 2, "ea0f0b1401020304", datetime(2026, 11, 20, 1, 2, 3, 4)),
    ("timestamp(3)", T.DATETIME, 0, 2, "ea0f0b14070809a0c21e", datetime(2026, 11, 20, 7, 8, 9, 500_000)),
    ("datetime 0000-00-00", T.DATETIME, 0, 2, "80000000", "0000-00-00 00:00:00"),
    ("set", T.SET, 255, 0, "01610a6c6f6e672076616c7565", ("a", "long value")),
    ("set ''", T.SET, 255, 0, "01", ()),
    ("set of one empty string by the encoding rules", T.SET, 255, 0, "00", ("",)),
    ("enum", T.ENUM, 255, 0, "c3bc00", "ü"),
    ("enum ''", T.ENUM, 255, 0, "00", ""),
    ("bit(1)", T.BIT, 0, 0, "01", 1),
    ("bit(64)", T.BIT, 0, 0, "ffffffffffffffffff01", (1 << 64) - 1),
    ("bit(64) 0", T.BIT, 0, 0, "00", 0),
    ("float 0.1 as the nearest float", T.FLOAT, 0, 0, "cdcccc3d", 0.10000000149011612),
]


@pytest.mark.parametrize(
    ("column_type", "collation", "content_type", "field", "value"),
    [vector[1:] for vector in VECTORS],
    ids=[vector[0] for vector in VECTORS],
)
def test_a_value(column_type: ColumnType, collation: int, content_type: int, field: str, value: Value) -> None:
    (decoded,) = decode_row([bytes.fromhex(field)], [Column("c", column_type, collation, content_type)])
    assert decoded == value
    assert type(decoded) is type(value)


def test_every_type_has_a_vector() -> None:
    assert {vector[1] for vector in VECTORS} == set(ColumnType)


@pytest.mark.parametrize("column_type", ColumnType)
def test_an_empty_field_is_null(column_type: ColumnType) -> None:
    assert decode_row([b""], [Column("c", column_type)]) == (None,)


def test_a_decimal_keeps_its_digits() -> None:
    (value,) = decode_row([bytes.fromhex("030000c0")], [Column("c", T.DECIMAL)])
    assert str(value) == "0.000"


def test_a_row_has_as_many_fields_as_there_are_columns() -> None:
    with pytest.raises(RemoteProtocolError, match="2 fields in a result of 1 columns"):
        decode_row([b"\0", b"\0"], [Column("c", T.SINT)])


@pytest.mark.parametrize(
    ("column_type", "field"),
    [
        (T.SINT, "80"),  # the varint does not end
        (T.UINT, "ff" * 11),
        (T.UINT, "0100"),  # bytes after it
        (T.DOUBLE, "00" * 7),
        (T.FLOAT, "00" * 8),
        (T.BYTES, "61"),  # no zero byte
        (T.ENUM, "61"),
        (T.SET, "0561"),  # the string runs out
        (T.SET, "80"),
        (T.DECIMAL, "02"),  # no digits
        (T.DECIMAL, "0212"),  # no sign
        (T.DECIMAL, "02a1c0"),  # no digit
        (T.DECIMAL, "091c"),  # more scale than digits
        (T.DECIMAL, "01" + "11" * 80 + "1c"),  # more digits than MySQL has
        (T.TIME, "02"),  # no sign
        (T.TIME, "000000000000"),  # five numbers
        (T.TIME, "00" + "ff" * 9 + "01"),  # out of range
        (T.DATETIME, "ea0f0b"),
        (T.DATETIME, "0101010101010101"),
    ],
)
def test_a_field_that_its_type_does_not_allow(column_type: ColumnType, field: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_row([bytes.fromhex(field)], [Column("c", column_type)])


@given(st.sampled_from(ColumnType), st.integers(0, 3), st.sampled_from([0, 63, 255]), st.binary(max_size=80))
def test_arbitrary_fields_are_values_or_a_remote_error(
    column_type: ColumnType, content_type: int, collation: int, field: bytes
) -> None:
    try:
        (value,) = decode_row([field], [Column("c", column_type, collation, content_type)])
    except RemoteProtocolError:
        return
    assert (value is None) == (not field)
