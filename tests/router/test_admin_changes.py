"""Changes of a router at work that are asked for at the wrong moment, or by somebody who leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.api import bearer
from router.service import Phase
from router.settings import SettingsError
from tests.router.conftest import Run
from tests.router.fakes import until
from tests.router.test_admin import TOKEN, Stand, document, with_router
from tests.router.test_service import free_port, until_parked


async def connects(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def test_a_reload_is_whole_though_its_asker_hangs_up(run: Run, tmp_path: Path) -> None:
    wanted = document(tmp_path)

    async def scenario(stand: Stand) -> None:
        admin, port = stand.router.settings.admin.listen, free_port()
        wanted["routes"] = {"other": {**wanted["routes"]["rw"], "listen": f"127.0.0.1:{port}"}}
        _, writer = await asyncio.open_connection(admin.host, admin.port)
        head = f"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer(TOKEN)}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: stand.router._changing.locked(), "the reload is under way")
        writer.transport.abort()
        await until(lambda: stand.router.reloads == {"applied": 1, "refused": 0}, "it is done")
        assert list(stand.router.settings.routes) == ["other"]
        assert await connects("127.0.0.1", port)
        assert not await connects(stand.listen.host, stand.listen.port)

    run(with_router(wanted, scenario))


def test_what_ends_is_not_changed(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        _, writer = await asyncio.open_connection(stand.listen.host, stand.listen.port)
        await until_parked(stand.router)
        stand.router.stop()
        await until(lambda: stand.router.phase is Phase.DRAINING, "it drains")
        said = await stand.refused("/api/v1/reload", "POST", {}, authorization=bearer(TOKEN))
        assert "409 Conflict: nothing was changed: the router is ending" in said
        with pytest.raises(SettingsError, match="the router is ending"):
            await stand.router.hand_over()
        assert stand.router.reloads == {"applied": 0, "refused": 1}
        assert stand.router.events.after(0)[-1].kind.value == "reload-refused"
        assert stand.router._crew is not None
        hands = stand.router._crew.hands
        await until(lambda: [hand.retired for hand in hands.values()] == [True], "one worker drains, and none is new")
        writer.close()

    run(with_router({**document(tmp_path), "drain_timeout": 20}, scenario))


def test_a_reload_that_the_end_overtakes_changes_nothing(run: Run, tmp_path: Path) -> None:
    wanted = {**document(tmp_path), "drain_timeout": 20}

    async def scenario(stand: Stand) -> None:
        _, writer = await asyncio.open_connection(stand.listen.host, stand.listen.port)
        await until_parked(stand.router)
        port = free_port()
        wanted["routes"] = {"other": {**wanted["routes"]["rw"], "listen": f"127.0.0.1:{port}"}}
        reload = asyncio.create_task(stand.router.reload())
        await until(lambda: f"127.0.0.1:{port}" in stand.router._sockets.descriptors(), "it is under way")
        stand.router.stop()
        with pytest.raises(SettingsError, match="the router is ending"):
            await reload
        assert list(stand.router.settings.routes) == ["rw"]
        assert f"127.0.0.1:{port}" not in stand.router._sockets.descriptors()
        writer.close()

    run(with_router(wanted, scenario))


def test_a_fault_counts_as_a_reload_that_was_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stand: Stand) -> None:
        monkeypatch.setattr(stand.router, "_reread", lambda: {"a": 1}["secret"])
        with pytest.raises(KeyError):
            await stand.router.reload()
        assert stand.router.reloads == {"applied": 0, "refused": 1}
        text = stand.router.events.after(0)[-1].text
        assert text == "nothing was changed by a reload: a fault of the router; its log says more"

    run(with_router(document(tmp_path), scenario))
