"""A real browser for tests, without a head, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.peers.root import BROWSER, BROWSERS

SECONDS = 20.0  # for anything that is asked of it
OPTIONS = (
    "--no-sandbox",  # it is root in a root of its own, and reads only our own page
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--user-data-dir=/srv/profile",
    "--window-size=1280,1000",
)


class Page:
    """One tab, and what it asked for and complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def hear(self) -> None:
        """Take what the browser says, until it says no more."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])
            elif said["method"] == "Log.entryAdded":
                entry = said["params"]["entry"]
                self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))

    async def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(SECONDS):
            said = await answer
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        said = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, expression: str, what: str, timeout: float = SECONDS) -> None:
        """Wait until an expression is true in the page."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not await self.evaluate(expression):
            shown = await self.evaluate("document.body?.innerText")
            assert loop.time() < deadline, f"never came true: {what}; the page says:\n{shown}"
            await asyncio.sleep(0.1)

    async def screenshot(self, scheme: str) -> bytes:
        """A picture (PNG) of the page in `light` or `dark`."""
        await self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def opened(url: str, directory: Path) -> AsyncIterator[Page]:
    """A page in a browser of its own, which ends with the block."""
    process = _start(directory)
    try:
        port = directory / "profile" / "DevToolsActivePort"
        async with asyncio.timeout(SECONDS):
            while not port.exists() or not port.read_text().partition("\n")[2]:
                assert process.poll() is None, (directory / "browser.log").read_text()
                await asyncio.sleep(0.05)
        where = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        async with aiohttp.ClientSession() as http:
            async with http.put(f"{where}/json/new?about:blank") as reply:
                address = (await reply.json())["webSocketDebuggerUrl"]
            async with http.ws_connect(address, max_msg_size=1 << 26) as socket:
                page = Page(socket)
                hearing = asyncio.create_task(page.hear())
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await page.ask(f"{domain}.enable")
                await page.ask("Page.navigate", url=url)
                yield page
                hearing.cancel()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the command is a script, whose browser has processes of its own
        process.wait()


def _start(directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "browser.log").open("wb") as log:
        return subprocess.Popen(
            [*BROWSERS.enter(directory), BROWSER, *OPTIONS], stdout=log, stderr=log, start_new_session=True
        )
