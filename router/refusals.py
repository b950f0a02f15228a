"""The errors that a client gets from the router itself, as bytes. Pure; must not know sessions."""

from __future__ import annotations

from dataclasses import dataclass

from router.settings import Protocol
from xproto.codec import encode_error


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as MySQL numbers it."""

    code: int
    sql_state: str
    message: str


def no_member(route: str, reason: str, waited: float) -> Refusal:
    """No member could be had in time: CR_CONN_HOST_ERROR, which MySQL Router uses too and drivers take as retryable."""
    return Refusal(2003, "HY000", f"Fairlead: no server for route {route} within {waited:.1f} s: {reason}")


def parking_full(route: str, limit: int) -> Refusal:
    """Too many sessions wait already: ER_CON_COUNT_ERROR."""
    return Refusal(1040, "08004", f"Fairlead: too many connections: {limit} already wait for a server on route {route}")


def encode(refusal: Refusal, protocol: Protocol) -> bytes:
    """The refusal as the first thing a client of that protocol reads."""
    if protocol is Protocol.X:
        return encode_error(refusal.code, refusal.sql_state, refusal.message)
    return classic_error_packet(refusal)


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
