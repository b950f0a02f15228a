"""What etcd's JSON gateways answer, read. Decides what is a failure, and whose; must not know connections.

Shapes are those of etcd 3.4's `rpc.proto`: numbers come as text, keys and values in base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORDS_LIMIT = 200  # bytes of an answer that is no JSON, for the log
OUT_OF_ORDER = frozenset({4, 8, 13, 14})  # gRPC: deadline, exhausted, internal, unavailable. Another endpoint may do
GRPC_CODES = range(1, 17)  # that a failure may have
UNAUTHENTICATED = 16
# What a token that does not count any more is refused with besides, under a code of wrong arguments.
STALE_TOKEN = ("revision of auth store is old", "user name is empty")
NOT_FOUND = 5
HTTP_OK = 200


class EtcdError(Exception):
    """It could not be done; the text says where and why."""


class RevisionGoneError(EtcdError):
    """What happened since that revision cannot be told: compacted, or the store is another. Read anew."""


class LeaseGoneError(EtcdError):
    """The lease has expired, and what was under it is gone."""


@dataclass(frozen=True, slots=True)
class Event:
    """A key's new value at a revision; None where it was deleted or its lease has expired.

    `is_past`: it was there before we asked, nobody knows for how long.
    """

    key: str
    value: bytes | None
    revision: int
    is_past: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened up to a revision."""

    revision: int
    events: tuple[Event, ...]


def document_of(answer: bytearray, status: int) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):  # what etcd's gateway refuses by itself, it refuses in plain words
        raise ValueError(f"HTTP status {status}: {answer[:WORDS_LIMIT].decode(errors='replace').strip()!r}")
    return document


def failure_of(answer: dict[str, Any]) -> tuple[int, str] | None:
    """A failure's code and words, in any of the forms that etcd's gateways have; None where it is none of etcd's."""
    error = answer.get("error")
    detail = error if isinstance(error, dict) else answer
    code, message = detail.get("grpc_code") or detail.get("code"), detail.get("message", error)
    return (code, message) if isinstance(code, int) and code in GRPC_CODES and isinstance(message, str) else None


def is_stale(answer: dict[str, Any]) -> bool:
    """Whether it is the token that is refused."""
    code, message = failure_of(answer) or (0, "")
    return code == UNAUTHENTICATED or any(words in message for words in STALE_TOKEN)


def granted(endpoint: str, answer: dict[str, Any], status: int) -> dict[str, Any]:
    """The answer, if it is none of a failure.

    Raises:
        ValueError: it may be the endpoint's failure alone, or that of something in its place.
        EtcdError: it is refused.
    """
    failure = failure_of(answer)
    if failure is None:
        if status != HTTP_OK or "error" in answer:
            raise ValueError(f"HTTP status {status}: {str(answer)[:WORDS_LIMIT]}")
        return answer
    code, message = failure
    if code == NOT_FOUND and "lease" in message:
        raise LeaseGoneError(f"{endpoint}: {message}")
    if "compacted" in message:
        raise RevisionGoneError(f"{endpoint}: {message}")
    if code in OUT_OF_ORDER:
        raise ValueError(message)  # as with what cannot be read: the next endpoint is asked
    raise EtcdError(f"{endpoint}: {message}")


def event_of(kv: Mapping[str, Any], kind: str | None = None, *, now: int = 0, is_past: bool = False) -> Event:
    """`now`: the store's revision when the watch began."""
    key, revision = base64.b64decode(kv["key"]).decode(errors="replace"), int(kv["mod_revision"])
    value = None if kind == "DELETE" else base64.b64decode(kv.get("value", ""))
    return Event(key, value, revision, is_past or revision <= now)


def revision_of(answer: Mapping[str, Any]) -> int:
    return int(answer.get("header", {}).get("revision", 0))


def store_of(answer: Mapping[str, Any]) -> str:
    """The etcd cluster's number, if it is told."""
    return str(answer.get("header", {}).get("cluster_id", ""))


def text_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def after(prefix: bytes) -> bytes:
    """The end of the range of keys with that prefix; as etcd's own clients have it."""
    for length in range(len(prefix), 0, -1):
        if prefix[length - 1] < 0xFF:
            return prefix[: length - 1] + bytes([prefix[length - 1] + 1])
    return b"\0"
