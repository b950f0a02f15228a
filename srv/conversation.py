"""A signed conversation with one name server: questions and updates over one TCP connection.

Owns the connection, its deadline and which answer belongs to what. Must not know what is wanted. TCP always, since a
late copy of a datagram could undo a newer update, and since updates may be large.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from srv.records import RRset
from srv.signed import (
    BadKeyError,
    BadSignatureError,
    BadTimeError,
    OversizeError,
    SignatureError,
    Signed,
    SigningKey,
    UnsignedError,
    read_signed_reply,
    read_update_reply,
    sign_query,
    sign_update,
)
from srv.update_outcomes import Outcome, UpdateError, check_rcode, standing_at
from srv.update_plan import Place
from srv.wire import MalformedError, Query, Question

Address = tuple[str, int]

PIPELINED = 20  # questions at a time; BIND stops reading past 23 that it has not answered

_SIGNATURE_OUTCOMES: dict[type[SignatureError], Outcome] = {
    BadKeyError: Outcome.BADKEY,
    BadSignatureError: Outcome.BADSIG,
    BadTimeError: Outcome.BADTIME,
    UnsignedError: Outcome.UNSIGNED,
}


class Conversation:
    """Asks and changes; `converse` makes one. Numbers messages from 1: signatures, not numbers, tell who answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: SigningKey) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key
        self._last_id = 0

    async def look(self, places: Iterable[Place]) -> dict[Place, RRset]:
        """Return what stands at the places; where nothing stands, the place is missing.

        Raises:
            UpdateError: the server will not tell, or is not the one to tell.
        """
        wanted = tuple(places)
        found: dict[Place, RRset] = {}
        for start in range(0, len(wanted), PIPELINED):
            found |= await self._look(wanted[start : start + PIPELINED])
        return found

    async def update(self, zone: str, changes: Sequence[RRset]) -> None:
        """Replace whole RRsets in the zone, all or none; those without records are deleted.

        Raises:
            UpdateError: the server does not do it.
        """
        try:
            signed = sign_update(self._next_id(), zone, changes, self._key)
        except OversizeError as exc:
            raise UpdateError(Outcome.TOO_LARGE, changes[0].name) from exc
        await self._send([signed])
        rcode = read_update_reply(await self._receive(), signed, self._key)
        if rcode is None:
            raise MalformedError("the answer is to something else")
        check_rcode(rcode)

    async def _look(self, places: Sequence[Place]) -> dict[Place, RRset]:
        asked: dict[int, tuple[Place, Query, Signed]] = {}
        for name, kind in places:
            query = Query(self._next_id(), Question(name, int(kind)), recursion_desired=False)
            asked[query.id] = ((name, kind), query, sign_query(query, self._key))
        await self._send([signed for _, _, signed in asked.values()])
        found: dict[Place, RRset] = {}
        while asked:
            wire = await self._receive()  # in any order (RFC 7766, 7)
            entry = asked.pop(int.from_bytes(wire[:2], "big"), None)
            reply = read_signed_reply(wire, entry[1], entry[2], self._key) if entry else None
            if entry is None or reply is None or reply.truncated:
                raise MalformedError("an answer is to something else, or truncated")
            rrset = standing_at(entry[0], reply)
            if rrset is not None:
                found[entry[0]] = rrset
        return found

    def _next_id(self) -> int:
        self._last_id = self._last_id % 65535 + 1
        return self._last_id

    async def _send(self, messages: Iterable[Signed]) -> None:
        self._writer.write(b"".join(len(one.wire).to_bytes(2, "big") + one.wire for one in messages))
        await self._writer.drain()

    async def _receive(self) -> bytes:
        return await self._reader.readexactly(int.from_bytes(await self._reader.readexactly(2), "big"))


@asynccontextmanager
async def converse(server: Address, key: SigningKey, timeout: float) -> AsyncIterator[Conversation]:
    """Connect, for as long as the body takes.

    Args:
        server: IP address and port.
        key: signs what is sent; what is received must be signed by it.
        timeout: seconds for all of it.

    Raises:
        UpdateError: whatever goes wrong with the server, in the body too.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(*server)
            try:
                yield Conversation(reader, writer, key)
            finally:
                writer.transport.abort()
    except TimeoutError as exc:
        raise UpdateError(Outcome.TIMEOUT) from exc
    except OSError as exc:
        raise UpdateError(Outcome.UNREACHABLE, exc.strerror or str(exc)) from exc
    except asyncio.IncompleteReadError as exc:
        raise UpdateError(Outcome.UNREACHABLE, "it closed the connection without an answer") from exc
    except MalformedError as exc:
        raise UpdateError(Outcome.MALFORMED, str(exc)) from exc
    except SignatureError as exc:
        raise UpdateError(_SIGNATURE_OUTCOMES[type(exc)]) from exc
