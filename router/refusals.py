"""The errors that a client gets from the router itself, as bytes. Pure; must not know sessions."""

from __future__ import annotations

from dataclasses import dataclass

from router.words import Protocol


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as MySQL numbers it."""

    code: int
    sql_state: str
    message: str


def no_member(route: str, reason: str, waited: float) -> Refusal:
    """No member could be had in time: CR_CONN_HOST_ERROR, which MySQL Router uses too and drivers take as retryable."""
    return Refusal(2003, "HY000", f"Fairlead: no server for route {route} within {waited:.1f} s: {reason}")


TOO_MANY = Refusal(1040, "08004", "Too many connections")
"""A limit is reached: ER_CON_COUNT_ERROR, in MySQL's own words, which tools look for."""


def host_blocked(host: str) -> Refusal:
    """The client's host hung up too often: ER_HOST_IS_BLOCKED, in MySQL's own words."""
    return Refusal(1129, "HY000", f"Host '{host}' is blocked because of many connection errors")


def parking_full(route: str, limit: int) -> Refusal:
    """Too many sessions wait already: ER_CON_COUNT_ERROR."""
    return Refusal(1040, "08004", f"Fairlead: too many connections: {limit} already wait for a server on route {route}")


def encode(refusal: Refusal, protocol: Protocol) -> bytes:
    """The refusal as the first thing a client of that protocol reads."""
    if protocol is Protocol.X:
        return x_error_frame(refusal)
    return classic_error_packet(refusal)


def x_error_frame(refusal: Refusal) -> bytes:
    """A `Mysqlx.Error` in its frame: severity FATAL is field 1, code 2, msg 3, sql_state 4 (mysqlx.proto).

    By hand, so that workers need no protobuf: it would be a quarter of their memory.
    """
    payload = (
        b"\x08\x01\x10"
        + _varint(refusal.code)
        + b"\x1a"
        + _text(refusal.message.encode("utf-8"))
        + b"\x22"
        + _text(refusal.sql_state.encode("ascii"))
    )
    return (len(payload) + 1).to_bytes(4, "little") + b"\x01" + payload


def _text(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def classic_error_packet(refusal: Refusal, *, sequence: int = 0) -> bytes:
    """An ERR packet in place of the server's greeting.

    Sent before any capability is known, so it has the layout that every client reads there, with the SQL state
    marker, as MySQL 5.7 and later send it (manual, "ERR_Packet").
    """
    payload = (
        b"\xff"
        + refusal.code.to_bytes(2, "little")
        + b"#"
        + refusal.sql_state.encode("ascii")
        + refusal.message.encode("utf-8")[:512]
    )
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload
