from __future__ import annotations

import asyncio
from typing import Any

import asyncmy
import asyncmy.errors
import pytest

from bench.demo.drivers import Account, AsyncConnection

ACCOUNT = Account("app", "secret", "app", "")


class Connection:
    """What asyncmy gives."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_while_the_driver_connects_ends(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    connecting, made = asyncio.Event(), Connection()

    async def connect(**_: Any) -> Connection:
        try:
            connecting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # swallowed, as `asyncio.wait_for` does at the wrong moment
            if fails:
                raise asyncmy.errors.OperationalError(2003, "refused") from None
        return made

    monkeypatch.setattr("bench.demo.drivers._tls", lambda _: None)
    monkeypatch.setattr(asyncmy, "connect", connect)
    task = asyncio.create_task(AsyncConnection.open("127.0.0.1", 3306, ACCOUNT))
    await connecting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.closed is not fails
