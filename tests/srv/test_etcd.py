"""The etcd client before what is no etcd, or a sick one. What real ones answer is in `tests/e2e`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from srv.etcd import Etcd, Login
from srv.etcd_answers import Batch, EtcdError, RevisionGoneError

HEADER = {"header": {"revision": "5", "cluster_id": "1"}}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def answering(answer: Answer, **options: Any) -> AsyncIterator[Etcd]:
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    [(host, port)] = runner.addresses
    etcd = Etcd([f"http://{host}:{port}"], **options)
    try:
        yield etcd
    finally:
        await etcd.close()
        await runner.cleanup()


def always(document: Mapping[str, Any], status: int = 200) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"message": "Service Unavailable"}, 503),
        ({"kind": "Status", "code": 404}, 404),
        ({"kind": "Status", "apiVersion": "v1"}, 200),
        ({"header": None, "kvs": 3}, 200),
        ({"header": {"revision": []}}, 200),
        ({**HEADER, "kvs": [{"key": 3}]}, 200),
        ({"error": {}}, 200),
        ({"error": "transport is closing", "code": 14, "message": "transport is closing"}, 503),
    ],
)
async def test_what_is_no_answer_of_etcds_is_a_failure(document: Mapping[str, Any], status: int) -> None:
    async with answering(always(document, status)) as etcd:
        with pytest.raises(EtcdError):
            await etcd.read("/f/")
        with pytest.raises(EtcdError):
            await etcd.grant(10)
        with pytest.raises(EtcdError):
            await etcd.keep_alive(1)
        with pytest.raises(EtcdError):
            await anext(etcd.watch("/f/", 1))


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"error": "transport is closing", "code": 14, "message": "transport is closing"}], 503),
        ([{"error": "odd"}], 200),
        ([{"result": []}], 200),
        ([{"result": {**HEADER, "created": True, "events": [{"kv": None}]}}], 200),
        ([[]], 200),
    ],
)
async def test_what_is_no_watch_is_a_failure(messages: list[Any], status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/v3/watch":
            return web.json_response(HEADER)
        return web.Response(text="".join(json.dumps(one) + "\n" for one in messages), status=status)

    async with answering(answer) as etcd:
        with pytest.raises(EtcdError):
            async for _ in etcd.watch("/f/", 1):
                pass


async def test_a_watch_goes_on_after_the_last_event_and_not_where_the_store_is() -> None:
    """While etcd tells what was missed, portion by portion, each is headed by the store's revision of now."""
    event = {"kv": {"key": "L2YvYQ==", "value": "eA==", "mod_revision": "3"}}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/v3/watch":
            return web.json_response(HEADER)
        created, told = {**HEADER, "created": True}, {**HEADER, "events": [event]}
        return web.Response(text="".join(json.dumps({"result": one}) + "\n" for one in (created, told)))

    async with answering(answer) as etcd:
        watch = etcd.watch("/f/", 2)
        assert await anext(watch) == Batch(1, ())
        missed = await anext(watch)
        assert missed.revision == 3
        assert missed.events[0].is_past


async def test_another_store_is_read_anew() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/v3/watch":
            return web.json_response(HEADER)
        header = {"revision": "9", "cluster_id": "2"}
        return web.Response(text=json.dumps({"result": {"header": header, "created": True}}) + "\n")

    async with answering(answer) as etcd:
        await etcd.read("/f/")
        with pytest.raises(RevisionGoneError, match="another cluster"):
            await anext(etcd.watch("/f/", 6))


@pytest.mark.parametrize("words", ["etcdserver: revision of auth store is old", "etcdserver: user name is empty"])
async def test_a_token_that_does_not_count_any_more_is_replaced(words: str) -> None:
    tokens = iter(["old", "new"])

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v3/auth/authenticate":
            return web.json_response({**HEADER, "token": next(tokens)})
        if request.headers["Authorization"] == "old":
            return web.json_response({"error": words, "code": 3, "message": words}, status=400)
        return web.json_response(HEADER)

    async with answering(answer, login=Login("fairlead", "secret")) as etcd:
        assert (await etcd.read("/f/")).revision == 5


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Login("fairlead", "secret"))
