"""The HTTP listener of a real router on loopback: its operations, who may use them, TLS, and what it says when not."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster.members import Endpoint
from router.admin_access import hash_password
from router.admin_reports import Reports
from router.api import Door, NoRouterError, ask, basic, bearer
from router.cli import main
from router.events import Kind
from router.reports import SessionReport
from router.service import Phase, Router
from router.settings import SettingsError, parse
from tests.router.conftest import Run
from tests.router.fakes import until
from tests.router.shapes import violations
from tests.router.test_service import free_port, until_parked

TOKEN = "0123456789abcdef"


class Stand:
    """A router at work, and how it is asked."""

    def __init__(self, router: Router, door: Door) -> None:
        self.router, self.door = router, door
        listen = router.settings.routes["rw"].listen
        assert isinstance(listen, Endpoint)
        self.listen = listen

    async def ask(self, path: str, method: str = "GET", body: object = None, **door: Any) -> dict[str, Any]:
        return await asyncio.to_thread(ask, replace(self.door, **door), path, method, body)

    async def refused(self, path: str, method: str = "GET", body: object = None, **door: Any) -> str:
        with pytest.raises(NoRouterError) as error:
            await self.ask(path, method, body, **door)
        return str(error.value)

    async def raw(self, method: str, path: str, **headers: str) -> tuple[int, Any, Any]:
        """Status, headers and body with headers as they are given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.door.url}{path}", headers=named, ssl=False) as reply,
        ):
            text = await reply.text()
            return reply.status, reply.headers, json.loads(text) if text.startswith("{") else text


Scenario = Callable[[Stand], Coroutine[Any, Any, None]]


def document(tmp_path: Path, **admin: Any) -> dict[str, Any]:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ci:{TOKEN}\n")
    users = tmp_path / "users"
    users.write_text(f"ada:{hash_password('right')}\n")
    return {
        "clusters": {"main": {"srv": "db.test", "resolvers": [f"127.0.0.1:{free_port()}"]}},
        "routes": {
            "rw": {
                "listen": f"127.0.0.1:{free_port()}",
                "protocol": "classic",
                "destination": "PRIMARY",
                "parking_timeout": 60,
            }
        },
        "admin": {
            "listen": f"127.0.0.1:{free_port()}",
            "tokens_file": str(tokens),
            "users_file": str(users),
            **admin,
        },
        "drain_timeout": 0,
    }


async def with_router(wanted: dict[str, Any], scenario: Scenario, **door: Any) -> None:
    settings = parse(wanted)
    router = Router(settings, {}, reread=lambda: (parse(wanted), {}))
    task = asyncio.create_task(router.run())
    try:
        await until(lambda: router.phase is Phase.SERVING or task.done(), "it serves", timeout=10)
        if not task.done():
            await scenario(Stand(router, Door(settings.admin.url, **door)))
    finally:
        router.stop()
        router.stop()
        await task


def test_every_operation_answers_as_its_description_says(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        reader, writer = await asyncio.open_connection(stand.listen.host, stand.listen.port)
        await until_parked(stand.router)
        stand.router.events.publish(Kind.SESSIONS_CUT, "text", count=1)
        description = await stand.ask("/api/v1/openapi.json")
        names = set()
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                names.add(operation["operationId"])
                assert {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"} == {
                    part[1:-1] for part in path.split("/") if part.startswith("{")
                }
                if method == "get":
                    answer = await stand.ask(path)
                    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
                    assert list(violations(answer, schema)) == [], path
        assert len(names) == sum(map(len, description["paths"].values()))
        swagger = await stand.ask("/api/20190715/swagger.json")
        for path, operations in swagger["paths"].items():
            filled = path.replace("{routeName}", "rw").replace("{metadataName}", "main")
            if "{" in filled:
                said = await stand.refused(swagger["basePath"] + filled.replace("{connectionPoolName}", "x"))
                assert "there is no connection pool x" in said
                continue
            answer = await stand.ask(swagger["basePath"] + filled)
            assert list(violations(answer, operations["get"]["responses"]["200"]["schema"])) == [], path
        [connection] = (await stand.ask("/api/20190715/routes/rw/connections"))["items"]
        assert connection["sourceAddress"] == "{}:{}".format(*writer.get_extra_info("sockname"))
        assert await stand.ask("/api/20190715/routes/rw/health") == {"isAlive": False}
        assert "404 Not Found: there is no route nowhere" in await stand.refused("/api/20190715/routes/nowhere/status")
        assert "'x' is not known here" in await stand.refused("/api/20190715/routes/rw/status?x=1")
        writer.close()
        del reader

    run(with_router(document(tmp_path), scenario))


def test_what_changes_something_needs_a_credential(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        reader, writer = await asyncio.open_connection(stand.listen.host, stand.listen.port)
        await until_parked(stand.router)
        [session] = (await stand.ask("/api/v1/sessions"))["sessions"]
        path = f"/api/v1/sessions/{session['id']}"
        assert "401 Unauthorized: a change needs a credential" in await stand.refused(path, "DELETE")
        assert "not known here" in await stand.refused(path, "DELETE", authorization=bearer("0" * 16))
        assert "not known here" in await stand.refused(path, "DELETE", authorization=basic("ada", "wrong"))
        status, headers, problem = await stand.raw("DELETE", path, Authorization=basic("ada", "right"))
        assert (status, headers["Content-Type"]) == (415, "application/problem+json")
        assert problem.keys() == {"type", "title", "status", "detail"}
        elsewhere = {"Origin": "https://evil.example", "Content_Type": "application/json"}
        assert (await stand.raw("DELETE", path, Authorization=bearer(TOKEN), **elsewhere))[0] == 403
        assert await stand.ask(path, "DELETE", authorization=basic("ada", "right")) == {"killed": session["id"]}
        assert await reader.read() == b""
        writer.close()
        assert "404" in await stand.refused(path, "DELETE", authorization=bearer(TOKEN))
        assert "404" in await stand.refused("/api/v1/sessions/x%00", "DELETE", authorization=bearer(TOKEN))
        [event] = [one for one in (await stand.ask("/api/v1/events"))["events"] if one["kind"] == "session-killed"]
        assert event["text"].endswith("asked by ada")
        assert (await stand.raw("GET", "/api/v1/routes", Host="evil.example"))[0] == 403
        assert (await stand.raw("GET", "/readyz", Host="evil.example"))[0] == 503

    run(with_router(document(tmp_path), scenario))


def test_words_for_what_is_asked_wrong(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        by = {"authorization": bearer(TOKEN)}
        assert "there is no /api/v1/nothing" in await stand.refused("/api/v1/nothing")
        assert "PUT is not for /api/v1/routes" in await stand.refused("/api/v1/routes", "PUT", **by)
        assert "must be a whole number" in await stand.refused("/api/v1/sessions?limit=-1")
        assert "there is no route nowhere" in await stand.refused("/api/v1/sessions?route=nowhere")
        path = "/api/v1/members/mysql-0/drain"
        assert "there is no member mysql-0" in await stand.refused(path, "POST", {}, **by)
        assert "there is no cluster other" in await stand.refused(path, "POST", {"cluster": "other"}, **by)
        assert "'x' is not known in the body" in await stand.refused(path, "POST", {"x": 1}, **by)
        assert "cluster in the body must be of type string" in await stand.refused(path, "POST", {"cluster": 1}, **by)
        assert "must be a JSON object" in await stand.refused(path, "POST", [], **by)
        assert "10.0.0.1 is not blocked" in await stand.refused(
            "/api/v1/blocked-hosts/reset", "POST", {"host": "10.0.0.1"}, **by
        )
        assert await stand.ask("/api/v1/blocked-hosts/reset", "POST", {}, **by) == {"reset": []}
        headers = {"Authorization": bearer(TOKEN), "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for data in (b"{", b"\xff", b"[" * 50_000):
                async with session.post(f"{stand.door.url}{path}", data=data) as reply:
                    assert (reply.status, (await reply.json(content_type=None))["detail"]) == (
                        400,
                        "the body is not JSON",
                    )
            async with session.post(f"{stand.door.url}{path}", data=b" " * 70_000) as reply:
                assert reply.status == 413

    run(with_router(document(tmp_path), scenario))


def test_config_shows_no_secret(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        config = await stand.ask("/api/v1/config")
        assert config["admin"]["listen"] == str(stand.router.settings.admin.listen)
        assert config["routes"]["rw"]["parking_timeout"] == 60
        assert TOKEN not in json.dumps(config)
        assert "scrypt" not in json.dumps(config)

    run(with_router(document(tmp_path), scenario))


def certificate(path: Path, name: str) -> Path:
    """A certificate and its key, in one file."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return path


async def shown(stand: Stand) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    listen = stand.router.settings.admin.listen
    _, writer = await asyncio.open_connection(listen.host, listen.port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(der)


def test_a_reload_takes_renewed_certificates_and_credentials_or_nothing(run: Run, tmp_path: Path) -> None:
    pem, believed = certificate(tmp_path / "pem", "first"), tmp_path / "believed"
    believed.write_bytes(pem.read_bytes())
    wanted = document(tmp_path, certificate=str(pem))

    async def scenario(stand: Stand) -> None:
        first = await shown(stand)
        assert stand.door.url.startswith("https://")
        assert (await stand.ask("/api/v1/routes"))["routes"]
        certificate(pem, "second")
        believed.write_bytes(believed.read_bytes() + pem.read_bytes())
        (tmp_path / "tokens").write_text(f"other:{TOKEN[::-1]}\n")
        assert await shown(stand) == first
        answer = await stand.ask("/api/v1/reload", "POST", {}, authorization=bearer(TOKEN))
        assert answer == {"changes": []}
        second = await shown(stand)
        assert second != first
        assert "not known here" in await stand.refused("/api/v1/reload", "POST", {}, authorization=bearer(TOKEN))
        pem.write_text("nothing of use")
        (tmp_path / "tokens").write_text(f"ci:{TOKEN}\n")
        said = await stand.refused("/api/v1/reload", "POST", {}, authorization=bearer(TOKEN[::-1]))
        assert "409 Conflict: nothing was changed: admin.certificate" in said
        assert await shown(stand) == second
        wanted["admin"]["listen"] = f"127.0.0.1:{free_port()}"
        certificate(pem, "third")
        said = await stand.refused("/api/v1/reload", "POST", {}, authorization=bearer(TOKEN[::-1]))
        assert "admin.listen cannot change by a reload" in said
        events = (await stand.ask("/api/v1/events", authorization=bearer(TOKEN[::-1])))["events"]
        told = [one["kind"] for one in events if one["kind"].startswith("reload")]
        assert told == ["reloaded", "reload-refused", "reload-refused"]
        assert "admin.listen cannot change" in events[-1]["text"]

    run(with_router(wanted, scenario, ca=believed))


def test_a_certificate_of_its_own_is_known_by_its_fingerprint(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stand: Stand) -> None:
        [fingerprint] = [
            record.getMessage().rpartition(" ")[2] for record in caplog.records if "fingerprint" in record.message
        ]
        assert (await stand.ask("/api/v1/routes", fingerprint=fingerprint))["routes"]
        assert "another fingerprint" in await stand.refused("/api/v1/routes", fingerprint="00" * 32)
        assert "certificate" in await stand.refused("/api/v1/routes")
        door = ["--admin", stand.door.url, "--fingerprint", fingerprint]
        assert await asyncio.to_thread(main, ["status", *door]) == 0

    caplog.set_level("INFO")
    run(with_router(document(tmp_path, self_signed=True), scenario))


def test_metrics_have_a_listener_of_their_own(run: Run, tmp_path: Path) -> None:
    port = free_port()

    async def scenario(stand: Stand) -> None:
        async with aiohttp.ClientSession() as session:
            statuses = {}
            for path in ("/metrics", "/livez", "/readyz", "/api/v1/routes"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as reply:
                    statuses[path] = reply.status
        assert statuses == {"/metrics": 200, "/livez": 200, "/readyz": 503, "/api/v1/routes": 404}

    run(with_router(document(tmp_path, metrics_listen=f"127.0.0.1:{port}"), scenario))


def test_events_come_as_they_happen(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        headers = {"Accept": "text/event-stream"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{stand.door.url}/api/v1/events", headers=headers) as reply,
        ):
            assert reply.headers["Content-Type"] == "text/event-stream"
            assert await reply.content.readuntil(b"\n\n") == b"retry: 1000\n\n"
            stand.router.events.publish(Kind.FAILOVER_BEGUN, "no primary", "main", was="a")
            block = (await reply.content.readuntil(b"\n\n")).decode()
            while "failover-begun" not in block:
                block = (await reply.content.readuntil(b"\n\n")).decode()
            event = json.loads(block.partition("data: ")[2])
            assert (event["kind"], event["cluster"], event["was"]) == ("failover-begun", "main", "a")
        await until(lambda: not stand.router.events._told, "the stream is given up")

    run(with_router(document(tmp_path), scenario))


def test_polling_costs_the_workers_little(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        asked = 0
        refresh = stand.router.overview.refresh

        async def counted() -> None:
            nonlocal asked
            asked += 1
            await refresh()

        stand.router.overview.refresh = counted
        began = asyncio.get_running_loop().time()
        async with aiohttp.ClientSession() as session:

            async def poll() -> int:
                async with session.get(f"{stand.door.url}/api/20190715/routes/rw/status") as reply:
                    return reply.status

            assert set(await asyncio.gather(*(poll() for _ in range(300)))) == {200}
        assert asked <= 2 + (asyncio.get_running_loop().time() - began) / 0.1

    run(with_router(document(tmp_path), scenario))


@pytest.mark.parametrize(
    ("admin", "words"),
    [
        ({"tokens_file": "/absent"}, "admin.tokens_file /absent: No such file"),
        ({"users_file": "/etc/hostname"}, "admin.users_file /etc/hostname: line 1: "),
        ({"certificate": "/absent"}, "admin.certificate /absent: No such file"),
        ({"certificate": "/etc/hostname"}, "the certificate or its key is no PEM"),
        ({"listen": "0.0.0.0:8443"}, "admin.tokens_file: credentials would cross the network in clear"),
        ({"key": "/absent"}, "admin.key: is of no use without admin.certificate"),
        ({"self_signed": True, "certificate": "/absent"}, "admin.self_signed: contradicts admin.certificate"),
    ],
)
def test_what_keeps_the_listener_from_starting(run: Run, tmp_path: Path, admin: dict[str, Any], words: str) -> None:
    async def nothing(_: Stand) -> None:
        raise AssertionError("it started")

    with pytest.raises(SettingsError) as error:
        run(with_router(document(tmp_path, **admin), nothing))
    assert words in str(error.value)


def test_without_the_program_openssl_it_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Stand) -> None:
        raise AssertionError("it started")

    wanted = document(tmp_path, self_signed=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match=r"admin.self_signed: the program openssl .* set admin.certificate"):
        run(with_router(wanted, nothing))


def test_status_and_top(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(stand: Stand) -> None:
        where = ["--admin", stand.door.where]
        assert await asyncio.to_thread(main, ["status", *where]) == 0
        text = capsys.readouterr().out
        assert "cluster main: blind" in text
        assert f"{stand.router.overview.workers()[0].pid}  serving" in text
        assert await asyncio.to_thread(main, ["status", "--json", *where]) == 0
        assert json.loads(capsys.readouterr().out).keys() == {"clusters", "main", "routes", "workers"}
        assert await asyncio.to_thread(main, ["top", "--once", "--interval", "0.1", *where]) == 0
        assert capsys.readouterr().out.startswith("fairlead: 0 sessions, 0 parked, 0.0 new/s")
        os.environ["FAIRLEAD_ADMIN_TOKEN"] = "0" * 16
        try:
            assert await asyncio.to_thread(main, ["status", *where]) == 1
        finally:
            del os.environ["FAIRLEAD_ADMIN_TOKEN"]
        assert "401 Unauthorized: the credential is not known here" in capsys.readouterr().err

    run(with_router(document(tmp_path), scenario))


def test_every_member_can_be_drained_and_put_back(run: Run, tmp_path: Path) -> None:
    wanted = document(tmp_path)
    listed = {"listen": f"127.0.0.1:{free_port()}", "protocol": "classic", "members": ["127.0.0.1:3306"]}
    wanted["routes"]["list"] = listed

    async def scenario(stand: Stand) -> None:
        by, path = {"authorization": bearer(TOKEN)}, "/api/v1/members/127.0.0.1:3306"
        drained = await stand.ask(f"{path}/drain", "POST", {}, **by)
        assert drained == {"cluster": "", "member": "127.0.0.1:3306", "mode": "drained"}
        assert stand.router.overview.modes("") == {"127.0.0.1:3306": "drained"}
        await stand.ask(f"{path}/undrain", "POST", {}, **by)
        assert stand.router.overview.modes("") == {}
        assert "there is no member 127" in await stand.refused("/api/v1/members/127/drain", "POST", {}, **by)
        # As after a member of that name has left DNS.
        stand.router.overview.set_mode("main", "db-2.db.test", "drained")
        undrained = await stand.ask("/api/v1/members/db-2/undrain", "POST", {"cluster": "main"}, **by)
        assert undrained == {"cluster": "main", "member": "db-2.db.test", "mode": None}
        assert stand.router.overview.modes("main") == {}
        assert "there is no member db-2" in await stand.refused("/api/v1/members/db-2/undrain", "POST", {}, **by)

    run(with_router(wanted, scenario))


def test_lists_of_sessions_cost_the_workers_little(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        asked: list[str] = []
        real = stand.router.overview.list_sessions

        async def counted(limit: int, route: str = "") -> list[SessionReport]:
            asked.append(route)
            return await real(limit, route)

        stand.router.overview.list_sessions = counted
        reader, writer = await asyncio.open_connection(stand.listen.host, stand.listen.port)
        await until_parked(stand.router)
        reports, began = Reports(stand.router), asyncio.get_running_loop().time()
        polls = [reports.sessions(limit % 40, ("", "rw")[limit % 2]) for limit in range(400)]
        shown = await asyncio.gather(*polls)
        assert [len(one) for one in shown] == [min(limit % 40, 1) for limit in range(400)]
        for route in ("", "rw"):
            assert asked.count(route) <= 2 + (asyncio.get_running_loop().time() - began) / 0.1
        writer.close()
        del reader

    run(with_router(document(tmp_path), scenario))
