"""Answers over HTTP, and the bodies of requests: their form, and how long one waits for the other side.

Must not know what is answered.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from aiohttp import web

from router.api_description import PROBLEM_TYPE
from router.api_operations import ProblemError

ANSWER_PATIENCE = 10.0  # seconds for one to take an answer, and for an asker to send the body that he announced
PATH_TOLD = 200  # characters of a path in the log and in problems
NOT_KEPT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def path_of(request: web.Request) -> str:
    """What was asked for, as it came and bounded: decoded, it may hold anything."""
    return request.raw_path[:PATH_TOLD]


def problem(status: int, words: str) -> web.Response:
    """What went wrong, as a problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": words}
    headers = {**NOT_KEPT, "Content-Type": PROBLEM_TYPE}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Fairlead", charset="UTF-8", Bearer'
    return web.Response(status=status, body=json.dumps(document).encode(), headers=headers)


async def send(response: web.StreamResponse, request: web.Request) -> None:
    """Send an answer to one who takes it; aiohttp itself would wait for ever. A stream has sent itself already.

    Raises:
        ConnectionError: it was not taken in time.
    """
    if response.prepared:
        return
    try:
        async with asyncio.timeout(ANSWER_PATIENCE):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError as exc:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the answer was not taken") from exc


async def json_of(request: web.Request) -> Any:
    """The body's document; an empty object where there is no body.

    Raises:
        ProblemError: it is no JSON, or does not come.
    """
    try:
        async with asyncio.timeout(ANSWER_PATIENCE):
            data = await request.read()
    except TimeoutError as exc:
        raise ProblemError(408, f"the body did not come within {ANSWER_PATIENCE:g} s") from exc
    try:
        return json.loads(data) if data else {}
    except (ValueError, RecursionError) as exc:
        raise ProblemError(400, "the body is not JSON") from exc
