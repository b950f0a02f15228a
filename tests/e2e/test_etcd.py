"""The etcd client, and what follows leased keys, against a real etcd: watching, compaction, logins, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox.certificates import ensure_authority, issue
from cluster.members import Role
from srv.assembly import open_etcd
from srv.documents import DocumentError
from srv.etcd import Etcd, Login
from srv.etcd_answers import Batch, EtcdError, LeaseGoneError, RevisionGoneError
from srv.leased import LeasedClusters
from srv.leaseholders import Settings
from srv.leases import key_of, write
from srv.settings import EtcdTable
from tests.e2e.etcd_server import EtcdServer
from tests.srv.test_leased import Heard
from tests.srv.test_leaseholders import lease

pytestmark = pytest.mark.sandbox

ROLES = [Role.PRIMARY, Role.SECONDARY, Role.SECONDARY]
PATIENCE = 20.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions are other tasks' plain values
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def client(*endpoints: str, **options: Any) -> AsyncIterator[Etcd]:
    one = Etcd(endpoints, **options)
    try:
        yield one
    finally:
        await one.close()


class Relay:
    """Passes bytes on to a port, until it is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.listens = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.listens)
        self.listens = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await until(lambda: not self._open)
        await self._server.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= {writer, back}

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))
        for one in (writer, back):
            one.close()
            with contextlib.suppress(OSError):
                await one.wait_closed()
        self._open -= {writer, back}


async def test_reading_in_pages_and_watching(etcd: EtcdServer) -> None:
    async with client("http://127.0.0.1:1", etcd.url) as one:
        number = await one.grant(10)
        for n in range(250):
            await one.put(f"/pages/{n}", b"x", number)
        await one.put("/pagesnot", b"x", number)
        found = await one.read("/pages/")
        assert sorted(event.key for event in found.events) == sorted(f"/pages/{n}" for n in range(250))
        batches: list[Batch] = []

        async def watch() -> None:
            async for batch in one.watch("/pages/", found.revision + 1):
                batches.append(batch)  # noqa: PERF401 - they are looked at meanwhile

        task = asyncio.create_task(watch(), name="watch")
        await until(lambda: len(batches) == 1)
        assert batches == [Batch(found.revision, ())]
        await one.put("/pages/7", b"y", number)
        await until(lambda: len(batches) == 2)
        [event] = batches[1].events
        assert (event.key, event.value) == ("/pages/7", b"y")
        await one.revoke(number)
        await until(lambda: sum(event.value is None for batch in batches for event in batch.events) == 250)
        with pytest.raises(LeaseGoneError):
            await one.put("/pages/8", b"x", number)
        with pytest.raises(LeaseGoneError):
            await one.keep_alive(number)
        task.cancel()
        await asyncio.wait([task])


async def test_a_past_or_a_future_that_is_not_there(etcd: EtcdServer) -> None:
    async with client(etcd.url) as one:
        number = await one.grant(10)
        for n in range(3):
            await one.put("/past/x", str(n).encode(), number)
        revision = (await one.read("/past/")).revision
        etcd.call("/v3/kv/compaction", {"revision": revision})
        for start in (revision - 2, revision + 100):
            with pytest.raises(RevisionGoneError):
                async for _ in one.watch("/past/", start):
                    pass


async def test_what_was_compacted_while_the_line_was_cut_is_read_anew(etcd: EtcdServer, caplog: Any) -> None:
    caplog.set_level("INFO", "fairlead")
    relay, heard = Relay(etcd.port), Heard()
    await relay.start()
    async with client(etcd.url) as direct:
        numbers = [await direct.grant(60) for _ in range(2)]
        for n in range(2):
            await direct.put(key_of("/cut", "db.test", f"m{n}"), write(lease(n, ROLES)), numbers[n])
        source = LeasedClusters(
            Etcd([f"http://127.0.0.1:{relay.listens}"]), "/cut", [Settings("db.test", keep_roles=1.0)]
        )
        task = asyncio.create_task(source.run(heard), name="source")
        try:
            await until(lambda: heard.labels() == ["m0", "m1"])
            await relay.cut()
            await until(lambda: "etcd-lost" in caplog.text)
            await direct.revoke(numbers[0])
            await direct.put(key_of("/cut", "db.test", "m2"), write(lease(2, ROLES)), numbers[1])
            etcd.call("/v3/kv/compaction", {"revision": (await direct.read("/cut/")).revision})
            assert heard.labels() == ["m0", "m1"]
            await relay.start()
            await until(lambda: heard.labels() == ["m1", "m2"])
            assert "etcd-read-anew" in caplog.text
            await direct.revoke(numbers[1])
            await until(lambda: heard.labels() == [])
        finally:
            task.cancel()
            await asyncio.wait([task])
            await relay.cut()


class CutOff(Etcd):
    """Its line is cut once, after the first of the portions in which what was missed is told."""

    was_cut = False

    async def watch(self, prefix: str, start: int) -> AsyncIterator[Batch]:
        async for batch in super().watch(prefix, start):
            yield batch
            if len(batch.events) > 900 and not self.was_cut:
                self.was_cut = True
                raise EtcdError("cut")


async def test_nothing_is_missed_of_what_is_told_in_portions(etcd: EtcdServer) -> None:
    heard, store = Heard(), CutOff([etcd.url])
    source = LeasedClusters(store, "/portions", [Settings("db.test")])
    async with client(etcd.url) as direct:
        numbers = [await direct.grant(60) for _ in range(3)]
        for n in range(2):
            await direct.put(key_of("/portions", "db.test", f"m{n}"), write(lease(n, ROLES)), numbers[n])
        task = asyncio.create_task(source.run(heard), name="source")
        try:
            await until(lambda: heard.labels() == ["m0", "m1"])
            task.cancel()
            await asyncio.wait([task])
            for _ in range(30):
                await asyncio.gather(*(direct.put("/portions/other.test/m0", b"x", numbers[2]) for _ in range(50)))
            await direct.revoke(numbers[1])
            task = asyncio.create_task(source.run(heard), name="source again")
            await until(lambda: heard.labels() == ["m0"])
            assert store.was_cut
        finally:
            task.cancel()
            await asyncio.wait([task])
            for number in numbers[::2]:
                await direct.revoke(number)


@pytest.fixture
def guarded(peers: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EtcdServer]:
    """An etcd that speaks TLS only, with more arguments from the test; its files are in `tmp_path`."""
    authority, key = tmp_path / "ca.pem", tmp_path / "ca-key.pem"
    ensure_authority(authority, key)
    directory = tmp_path / "etcd"
    directory.mkdir()
    for name in ("server", "client"):
        certificate, own_key = issue(authority, key, ["127.0.0.1"])
        (tmp_path / f"{name}.pem").write_text(certificate)
        (tmp_path / f"{name}-key.pem").write_text(own_key)
    for name in ("ca.pem", "server.pem", "server-key.pem"):
        shutil.copy(tmp_path / name, directory)
    files = ("--cert-file", "/srv/server.pem", "--key-file", "/srv/server-key.pem")
    one = EtcdServer(peers, directory, *files, *request.param, scheme="https")
    one.start()
    try:
        yield one
    finally:
        one.stop()


@contextlib.asynccontextmanager
async def opened(url: str, **keys: Any) -> AsyncIterator[Etcd]:
    """A client as the configuration opens it."""
    one = open_etcd("etcd.main", EtcdTable(endpoints=(url,), **keys))
    try:
        yield one
    finally:
        await one.close()


@pytest.mark.parametrize("guarded", [("--trusted-ca-file", "/srv/ca.pem", "--client-cert-auth")], indirect=True)
async def test_certificates_on_both_sides(guarded: EtcdServer, tmp_path: Path) -> None:
    files = {"tls_ca": tmp_path / "ca.pem", "tls_cert": tmp_path / "client.pem", "tls_key": tmp_path / "client-key.pem"}
    async with opened(guarded.url, **files) as one, opened(guarded.url, tls_ca=files["tls_ca"]) as bare:
        assert (await one.read("/f/")).events == ()
        with pytest.raises(EtcdError):
            await bare.read("/f/")
    ensure_authority(tmp_path / "other.pem", tmp_path / "other-key.pem")
    async with opened(guarded.url, **files | {"tls_ca": tmp_path / "other.pem"}) as deceived:
        with pytest.raises(EtcdError, match="certificate verify failed"):
            await deceived.read("/f/")
    with pytest.raises(DocumentError, match=r"etcd\.main\.tls_ca .*No such file"):
        async with opened(guarded.url, tls_ca=tmp_path / "none"):
            pass


@pytest.mark.parametrize("guarded", [()], indirect=True)
async def test_a_login_that_may_only_read(guarded: EtcdServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    tls, login = {"tls_ca": tmp_path / "ca.pem"}, {"password_file": tmp_path / "password"}
    role = {"name": "reader", "perm": {"key": "L2Yv", "range_end": "L2Yw", "permType": "READ"}}  # /f/ to /f0
    async with contextlib.AsyncExitStack() as stack:
        root = await stack.enter_async_context(opened(guarded.url, **tls))
        for path, question in (
            ("user/add", {"name": "root", "password": "secret"}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("user/add", {"name": "fairlead", "password": "secret"}),
            ("role/add", {"name": "reader"}),
            ("role/grant", role),
            ("user/grant", {"user": "fairlead", "role": "reader"}),
            ("enable", {}),
        ):
            await root._call(f"/v3/auth/{path}", question)
        with pytest.raises(EtcdError, match="user name is empty"):
            await root.read("/f/")
        wrong = Etcd([guarded.url], login=Login("fairlead", "no"), ssl_context=root._ssl_context)
        stack.push_async_callback(wrong.close)
        with pytest.raises(EtcdError, match="invalid user ID or password"):
            await wrong.read("/f/")
        reader = await stack.enter_async_context(opened(guarded.url, **tls, **login, user="fairlead"))
        assert (await reader.read("/f/")).events == ()
        reader._token = "no-longer.1"  # as after etcd's five minutes
        assert (await reader.read("/f/")).events == ()
        for refused in (reader.read("/other/"), reader.put("/f/a", b"x", 0), anext(reader.watch("/other/", 1))):
            with pytest.raises(EtcdError, match="permission denied"):
                await refused
        reader._token = None
        assert (await anext(reader.watch("/f/", 1))).events == ()
