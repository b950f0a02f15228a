"""A client of etcd's v3 API, through its JSON gateway over HTTP. The one importer of aiohttp here.

Owns endpoints and failing over between them, the login, limits and time. Must not know what the keys mean; what an
answer means is `etcd_answers`' to read.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import aiohttp

from srv.etcd_answers import (
    Batch,
    EtcdError,
    Event,
    LeaseGoneError,
    RevisionGoneError,
    after,
    document_of,
    event_of,
    granted,
    is_stale,
    revision_of,
    store_of,
    text_of,
)

REQUEST_TIMEOUT = 2.0  # seconds for one request to one endpoint: several fit into a lease of 10 s
HEARTBEAT = 2.0  # seconds of silence on a watch, after which the endpoint must show that it still belongs to a majority
BACKOFF = (0.1, 2.0)  # seconds: the first and the longest wait before etcd is tried again
PAGE = 100  # keys in one answer, so that no answer is large whatever their number
ANSWER_LIMIT = 16 * 2**20  # bytes of one answer, or of one message of a watch: many times a page of what we write


@dataclass(frozen=True, slots=True)
class Login:
    """An etcd user."""

    user: str
    password: str = field(repr=False)


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
        start, end = prefix.encode(), after(prefix.encode())
        revision, events = 0, list[Event]()
        while True:
            question = {"key": text_of(start), "range_end": text_of(end), "limit": PAGE, "revision": revision}
            answer = await self._call("/v3/kv/range", question)
            with _reading(self):
                revision = revision or revision_of(answer)
                self._store = store_of(answer)
                found = [event_of(one, is_past=True) for one in answer.get("kvs", ())]
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
        where = {"key": text_of(key), "range_end": text_of(after(key))}
        create = {**where, "start_revision": start}
        await self._call("/v3/kv/range", {**where, "count_only": True})  # finds one that answers, and logs in
        endpoint, now = self._endpoints[0], 0
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                response = await self._open(endpoint, "/v3/watch", {"create_request": create})
            async with response:
                async for message in self._messages(endpoint, response, {**where, "count_only": True}):
                    result = granted(endpoint, message, response.status).get("result", {})
                    revision = revision_of(result)
                    if result.get("canceled"):
                        reason = result.get("cancel_reason", "")
                        if "compact_revision" in result or "compacted" in reason:
                            raise RevisionGoneError(f"{endpoint}: revision {start} was compacted")
                        raise EtcdError(f"{endpoint}: watch refused: {reason or 'no reason given'}")
                    if result.get("created"):
                        if self._store and self._store != store_of(result):
                            raise RevisionGoneError(f"{endpoint}: it is another cluster than the one that was read")
                        if revision < start - 1:
                            raise RevisionGoneError(f"{endpoint}: it is at revision {revision}, and was at {start - 1}")
                        now = revision
                        yield Batch(start - 1, ())
                    events = [event_of(one["kv"], one.get("type"), now=now) for one in result.get("events", ())]
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
        await self._call("/v3/kv/put", {"key": text_of(key.encode()), "value": text_of(value), "lease": lease})

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
        if self._login is not None and is_stale(answer):
            self._token = await self._authenticate(endpoint, self._login)  # tokens expire after some minutes
            answer, status = await self._post(endpoint, path, question)
        given = granted(endpoint, answer, status)
        if "header" not in given.get("result", given):
            raise ValueError("its answer is none of etcd's")
        return given

    async def _authenticate(self, endpoint: str, login: Login) -> str:
        self._token = None
        question = {"name": login.user, "password": login.password}
        return str(granted(endpoint, *await self._post(endpoint, "/v3/auth/authenticate", question))["token"])

    async def _post(self, endpoint: str, path: str, question: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The answer's document and its HTTP status."""
        async with await self._open(endpoint, path, question) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > ANSWER_LIMIT:
                    raise ValueError(f"an answer of more than {ANSWER_LIMIT} bytes")
            return document_of(answer, response.status), response.status

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


@contextmanager
def _reading(etcd: Etcd) -> Iterator[None]:
    """What is odd about an answer is etcd's failure, not ours."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EtcdError(f"{etcd}: an answer that is none of etcd's: {_words(exc)}") from exc


def _words(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return f"no answer within {REQUEST_TIMEOUT:g} s"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error.strerror or str(exc)
    return str(exc) or type(exc).__name__
