"""Passwords that are tried: one at a time, so many and no more, whether or not those who ask still wait."""

from __future__ import annotations

import asyncio
import threading

import pytest

from router import admin_doors
from router.admin_access import Basic, Credentials
from router.admin_doors import TRIES_WAITING, CrowdedError, Doors, Tries
from router.admin_settings import AdminSettings
from router.api import basic
from tests.router.conftest import Run
from tests.router.fakes import until


class Hashing:
    """In place of scrypt: as slow as the test wants, and counted."""

    def __init__(self) -> None:
        self.go, self.lock = threading.Event(), threading.Lock()
        self.now = self.most = self.done = 0

    def is_user(self, _: Credentials, presented: Basic) -> bool:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(10)
        with self.lock:
            self.now -= 1
            self.done += 1
        return presented.password == "right"


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Hashing:
    made = Hashing()
    monkeypatch.setattr(admin_doors, "is_user", made.is_user)
    return made


def doors(tries: Tries) -> Doors:
    return Doors(AdminSettings(), Credentials(users={"ada": "x"}), tries)


def test_one_is_tried_at_a_time_though_askers_hang_up_and_credentials_are_renewed(run: Run, hashing: Hashing) -> None:
    async def scenario() -> None:
        tries = Tries()
        for _ in range(4):
            asker = asyncio.create_task(doors(tries).caller_of(basic("ada", "wrong")))
            await until(lambda: hashing.now > 0, "one is tried")
            await asyncio.sleep(0)
            asker.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asker
        last = asyncio.create_task(doors(tries).caller_of(basic("ada", "right")))
        await asyncio.sleep(0)
        assert tries._waiting >= 2, "the one that nobody waits for counts until its thread is done"
        hashing.go.set()
        assert await last == ("ada", False)
        await until(lambda: not tries._waiting, "nothing waits")
        assert hashing.most == 1
        assert hashing.done == 2, "what had not begun when its asker left was not tried"
        tries.close()

    run(scenario())


def test_so_many_wait_and_no_more(run: Run, hashing: Hashing) -> None:
    async def scenario() -> None:
        tries = Tries()
        known = doors(tries)
        askers = [asyncio.create_task(known.caller_of(basic("ada", str(one)))) for one in range(TRIES_WAITING)]
        await until(lambda: tries._waiting == TRIES_WAITING, "all wait")
        with pytest.raises(CrowdedError):
            await known.caller_of(basic("ada", "right"))
        assert await known.caller_of("Bearer 0123456789abcdef") == (None, True), "a token waits for nobody"
        hashing.go.set()
        assert set(await asyncio.gather(*askers)) == {(None, False)}
        assert await known.caller_of(basic("ada", "right")) == ("ada", False)
        hashing.go.clear()
        assert await known.caller_of(basic("ada", "right")) == ("ada", False), "it is remembered"
        tries.close()

    run(scenario())
