"""A client of etcd's v3 API, through its JSON gateway over HTTP. The one importer of aiohttp here.

Owns endpoints and failing over between them, the login, limits, and the names of failures. Must not know what the keys
mean. Shapes are those of etcd 3.4's `rpc.proto`: numbers come as text, keys and values in base64.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import aiohttp

REQUEST_TIMEOUT = 2.0  # seconds for one request to one endpoint: several fit into a lease of 10 s
HEARTBEAT = 2.0  # seconds of silence on a watch, after which the endpoint must show that it still belongs to a majority
BACKOFF = (0.1, 2.0)  # seconds: the first and the longest wait before etcd is tried again
PAGE = 100  # keys in one answer, so that no answer is large whatever their number
ANSWER_LIMIT = 16 * 2**20  # bytes of one answer, or of one message of a watch: many times a page of what we write
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
class Login:
    """An etcd user."""

    user: str
    password: str = field(repr=False)


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


class Etcd:
    """One etcd cluster.

    Args:
        endpoints: `http://HOST:PORT` or `https://…`; the last one that answered is asked first.
        login: where etcd has authentication on.
        ssl_context: for https.
    """

    def __init__(
        self, endpoints: Sequence[str], *, login: Login | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._login = login
        self._ssl_context = ssl_context
        self._token: str | None = None
        self._store = ""  # the etcd cluster that was read, by its own number
        self._session: aiohttp.ClientSession | None = None

    def __str__(self) -> str:
        return ",".join(self._endpoints)

    async def close(self) -> None:
        """Let go of connections. It may be used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def read(self, prefix: str) -> Batch:
        """Everything under a prefix, as it stands at one revision.

        Raises:
            EtcdError: no endpoint answers, or it is refused.
        """
        start, end = prefix.encode(), _after(prefix.encode())
        revision, events = 0, list[Event]()
        while True:
            question = {"key": _text(start), "range_end": _text(end), "limit": PAGE, "revision": revision}
            answer = await self._call("/v3/kv/range", question)
            with _reading(self):
                revision = revision or _revision(answer)
                self._store = _store(answer)
                found = [_event(one, is_past=True) for one in answer.get("kvs", ())]
            events.extend(found)
            if not answer.get("more") or not found:
                return Batch(revision, tuple(events))
            start = found[-1].key.encode() + b"\0"

    async def watch(self, prefix: str, start: int) -> AsyncIterator[Batch]:
        """What happens under a prefix from a revision on, until something goes wrong; first an empty batch.

        A batch's revision is that of its last event: the store's own may be ahead of it while what was missed is told
        in portions.

        Raises:
            RevisionGoneError: it cannot be told from there.
            EtcdError: the endpoint is lost, or watching is refused.
        """
        key = prefix.encode()
        where = {"key": _text(key), "range_end": _text(_after(key))}
        create = {**where, "start_revision": start}
        await self._call("/v3/kv/range", {**where, "count_only": True})  # finds one that answers, and logs in
        endpoint, now = self._endpoints[0], 0
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                response = await self._open(endpoint, "/v3/watch", {"create_request": create})
            async with response:
                async for message in self._messages(endpoint, response, {**where, "count_only": True}):
                    result = _granted(endpoint, message, response.status).get("result", {})
                    revision = _revision(result)
                    if result.get("canceled"):
                        reason = result.get("cancel_reason", "")
                        if "compact_revision" in result or "compacted" in reason:
                            raise RevisionGoneError(f"{endpoint}: revision {start} was compacted")
                        raise EtcdError(f"{endpoint}: watch refused: {reason or 'no reason given'}")
                    if result.get("created"):
                        if self._store and self._store != _store(result):
                            raise RevisionGoneError(f"{endpoint}: it is another cluster than the one that was read")
                        if revision < start - 1:
                            raise RevisionGoneError(f"{endpoint}: it is at revision {revision}, and was at {start - 1}")
                        now = revision
                        yield Batch(start - 1, ())
                    events = [_event(one["kv"], one.get("type"), now=now) for one in result.get("events", ())]
                    if events:
                        yield Batch(max(event.revision for event in events), tuple(events))
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            self._put_last(endpoint)
            raise EtcdError(f"{endpoint}: {_words(exc)}") from exc

    async def grant(self, ttl: int) -> int:
        """A new lease of so many seconds; returns its number."""
        answer = await self._call("/v3/lease/grant", {"TTL": ttl})
        with _reading(self):
            return int(answer["ID"])

    async def keep_alive(self, lease: int) -> None:
        """Have the lease last its whole time again.

        Raises:
            LeaseGoneError: it is too late for that.
            EtcdError: no endpoint answers.
        """
        answer = await self._call("/v3/lease/keepalive", {"ID": lease})
        with _reading(self):
            left = int(answer.get("result", {}).get("TTL", 0))
        if left <= 0:
            raise LeaseGoneError("the lease has expired")

    async def revoke(self, lease: int) -> None:
        """End the lease; what is under it is gone at once."""
        await self._call("/v3/lease/revoke", {"ID": lease})

    async def put(self, key: str, value: bytes, lease: int) -> None:
        """Write a key under a lease.

        Raises:
            LeaseGoneError: the lease has expired.
            EtcdError: no endpoint answers, or it is refused.
        """
        await self._call("/v3/kv/put", {"key": _text(key.encode()), "value": _text(value), "lease": lease})

    async def _call(self, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask one endpoint after another until one answers."""
        failures: list[str] = []
        for endpoint in tuple(self._endpoints):
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    return await self._ask(endpoint, path, question)
            # a TimeoutError is an OSError; the last three are of documents that are none of etcd's
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
                failures.append(f"{endpoint}: {_words(exc)}")
                self._put_last(endpoint)
        raise EtcdError("; ".join(failures))

    async def _ask(self, endpoint: str, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        if self._login is not None and self._token is None:
            self._token = await self._authenticate(endpoint, self._login)
        answer, status = await self._post(endpoint, path, question)
        if self._login is not None and _is_stale(answer):
            self._token = await self._authenticate(endpoint, self._login)  # tokens expire after some minutes
            answer, status = await self._post(endpoint, path, question)
        granted = _granted(endpoint, answer, status)
        if "header" not in granted.get("result", granted):
            raise ValueError("its answer is none of etcd's")
        return granted

    async def _authenticate(self, endpoint: str, login: Login) -> str:
        self._token = None
        question = {"name": login.user, "password": login.password}
        return str(_granted(endpoint, *await self._post(endpoint, "/v3/auth/authenticate", question))["token"])

    async def _post(self, endpoint: str, path: str, question: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The answer's document and its HTTP status."""
        async with await self._open(endpoint, path, question) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > ANSWER_LIMIT:
                    raise ValueError(f"an answer of more than {ANSWER_LIMIT} bytes")
            return _document(answer, response.status), response.status

    async def _open(self, endpoint: str, path: str, question: Mapping[str, Any]) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT), trust_env=False
            )
        return await self._session.post(
            endpoint + path,
            data=json.dumps(question),
            headers={"Authorization": self._token} if self._token else MappingProxyType({}),
            ssl=self._ssl_context or True,
            allow_redirects=False,
        )

    async def _messages(
        self, endpoint: str, response: aiohttp.ClientResponse, question: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """The documents of a stream, one a line. A silent endpoint must answer a question in between."""
        rest = bytearray()
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    chunk = await response.content.readany()
            except TimeoutError:
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    await self._ask(endpoint, "/v3/kv/range", question)
                continue
            if not chunk:
                raise EtcdError(f"{endpoint}: it ended the watch")
            rest += chunk
            if len(rest) > ANSWER_LIMIT:
                raise ValueError(f"a message of more than {ANSWER_LIMIT} bytes")
            *lines, tail = rest.split(b"\n")
            rest = bytearray(tail)
            for line in filter(None, lines):
                yield json.loads(line)

    def _put_last(self, endpoint: str) -> None:
        if self._endpoints[0] == endpoint:
            self._endpoints.append(self._endpoints.pop(0))


def _document(answer: bytearray, status: int) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):  # what etcd's gateway refuses by itself, it refuses in plain words
        raise ValueError(f"HTTP status {status}: {answer[:WORDS_LIMIT].decode(errors='replace').strip()!r}")
    return document


def _failure(answer: dict[str, Any]) -> tuple[int, str] | None:
    """A failure's code and words, in any of the forms that etcd's gateways have; None where it is none of etcd's."""
    error = answer.get("error")
    detail = error if isinstance(error, dict) else answer
    code, message = detail.get("grpc_code") or detail.get("code"), detail.get("message", error)
    return (code, message) if isinstance(code, int) and code in GRPC_CODES and isinstance(message, str) else None


def _is_stale(answer: dict[str, Any]) -> bool:
    """Whether it is the token that is refused."""
    code, message = _failure(answer) or (0, "")
    return code == UNAUTHENTICATED or any(words in message for words in STALE_TOKEN)


def _granted(endpoint: str, answer: dict[str, Any], status: int) -> dict[str, Any]:
    """The answer, if it is none of a failure.

    Raises:
        ValueError: it may be the endpoint's failure alone, or that of something in its place.
        EtcdError: it is refused.
    """
    failure = _failure(answer)
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


def _event(kv: Mapping[str, Any], kind: str | None = None, *, now: int = 0, is_past: bool = False) -> Event:
    """`now`: the store's revision when the watch began."""
    key, revision = base64.b64decode(kv["key"]).decode(errors="replace"), int(kv["mod_revision"])
    value = None if kind == "DELETE" else base64.b64decode(kv.get("value", ""))
    return Event(key, value, revision, is_past or revision <= now)


def _revision(answer: Mapping[str, Any]) -> int:
    return int(answer.get("header", {}).get("revision", 0))


def _store(answer: Mapping[str, Any]) -> str:
    """The etcd cluster's number, if it is told."""
    return str(answer.get("header", {}).get("cluster_id", ""))


@contextmanager
def _reading(etcd: Etcd) -> Iterator[None]:
    """What is odd about an answer is etcd's failure, not ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EtcdError(f"{etcd}: an answer that is none of etcd's: {_words(exc)}") from exc


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _after(prefix: bytes) -> bytes:
    """The end of the range of keys with that prefix; as etcd's own clients have it."""
    for length in range(len(prefix), 0, -1):
        if prefix[length - 1] < 0xFF:
            return prefix[: length - 1] + bytes([prefix[length - 1] + 1])
    return b"\0"


def _words(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return f"no answer within {REQUEST_TIMEOUT:g} s"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error.strerror or str(exc)
    return str(exc) or type(exc).__name__
