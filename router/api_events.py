"""Events as server-sent events (WHATWG HTML, section 9.2). Owns their form on the wire, and when a stream ends."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator

from router.events import Events

STILL_HERE = 15.0
"""Seconds of silence after which a comment is sent: below the 30 s and more after which proxies give up."""
RETRY = 1000  # milliseconds until a page whose stream ended asks again


async def stream_events(events: Events, last_event: str, after: int | None) -> AsyncGenerator[bytes, None]:
    """What comes, for as long as it is read.

    Args:
        events: where from.
        last_event: the Last-Event-ID of a stream that broke off; what came since is sent first.
        after: the number after which to begin, where there was none. None: with what comes now.
    """
    woken = asyncio.Event()
    number = _number(events, last_event, after)
    unsubscribe = events.subscribe(woken.set)
    try:
        yield f"retry: {RETRY}\n\n".encode()
        while True:
            woken.clear()
            for event in events.after(number):
                number = event.id
                data = json.dumps(event.document(), separators=(",", ":"))
                yield f"id: {events.instance}:{event.id}\nevent: {event.kind.value}\ndata: {data}\n\n".encode()
            try:
                async with asyncio.timeout(STILL_HERE):
                    await woken.wait()
            except TimeoutError:
                yield b": still here\n\n"
    finally:
        unsubscribe()


def _number(events: Events, last_event: str, after: int | None) -> int:
    instance, _, number = last_event.partition(":")
    if last_event:  # of another process: all that this one has is new
        return int(number) if instance == events.instance and re.fullmatch(r"[0-9]{1,18}", number) else 0
    return events.last if after is None else after
