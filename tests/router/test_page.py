"""The live page as it is served: nothing of it comes from elsewhere, and nothing in it is written by others."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import pytest

from router import page
from router.service import Phase, Router
from tests.router.conftest import Run
from tests.router.fakes import until
from tests.router.test_service import settings


def test_the_page_is_served_with_a_policy_that_keeps_it_to_itself(run: Run) -> None:
    async def scenario() -> None:
        router = Router(settings(), {})
        task = asyncio.create_task(router.run())
        await until(lambda: router.phase is Phase.SERVING, "it serves")
        for path, kind in {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}.items():
            headers, body = await asyncio.to_thread(fetch, f"http://{router.settings.admin.listen}{path}")
            assert headers["Content-Type"] == f"{kind}; charset=utf-8"
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert body == page.load()[path].body
        router.stop()
        await task

    run(scenario())


def fetch(url: str) -> tuple[dict[str, str], bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as reply:
        return dict(reply.headers), reply.read()


def test_nothing_comes_from_elsewhere_or_is_put_in_as_markup() -> None:
    files = {path: file.body.decode() for path, file in page.load().items()}
    asked = re.findall(r'(?:href|src)="([^"]+)"', files["/"])
    assert {"/page.css", "/page.js"} <= set(asked)
    assert all(one.startswith("/") or one == "data:," for one in asked)
    # The name of a namespace is no address that is asked.
    assert "://" not in files["/page.css"] + files["/page.js"].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", files["/page.js"])
    assert not re.search(r'\son\w+="|style="', files["/"]), "the policy forbids it"


def test_a_stream_that_is_opened_anew_tells_nothing_twice() -> None:
    script = page.load()["/page.js"].body.decode()
    hear = script[script.index("const hear =") : script.index("for (const kind of")]
    compared = hear.index("heard.instance === instance && event.id <= heard.id) return;")
    assert hear.index("message.lastEventId") < compared < hear.index("tell(event)")


def test_every_kind_of_event_is_listened_for() -> None:
    events = pytest.importorskip("router.events", reason="there are no events to listen for yet")
    kinds = re.search(r"const KINDS = \[(.*?)\]", page.load()["/page.js"].body.decode(), re.DOTALL)
    assert kinds
    assert set(re.findall(r'"([a-z-]+)"', kinds.group(1))) == {kind.value for kind in events.Kind}
