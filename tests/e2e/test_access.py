"""Every way in which a real server lets a probe in, or does not: each has its name, and says what to do."""

from __future__ import annotations

import asyncio
import datetime
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox import certificates
from bench.sandbox.servers import choose_server
from bench.sandbox.statements import StatementError
from cluster.access import Access, make_access
from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome
from cluster.x_probe import XProbe
from tests.e2e.lone_server import HOST, NAME, PASSWORD, LoneServer
from xproto.session import Login, Session

pytestmark = pytest.mark.sandbox

SECONDS = 10.0
PROBE = Login("probe", PASSWORD)


@pytest.fixture(scope="module")
def stopped(possible: None) -> Iterator[LoneServer]:
    """A server that is not running, with all the accounts of these tests."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        server = LoneServer(choose_server(None, lambda text: None), Path(name))
        try:
            server.create()
            server.start()
            server.sql(
                f"CREATE USER locked IDENTIFIED BY '{PASSWORD}' ACCOUNT LOCK",
                f"CREATE USER expired IDENTIFIED BY '{PASSWORD}' PASSWORD EXPIRE",
                f"CREATE USER unprivileged IDENTIFIED BY '{PASSWORD}'",
                f"CREATE USER encrypted IDENTIFIED BY '{PASSWORD}' REQUIRE SSL",
                f"CREATE USER certified IDENTIFIED BY '{PASSWORD}' REQUIRE X509",
                "GRANT SELECT ON performance_schema.* TO certified",
            )
            yield server
        finally:
            server.remove()


@pytest.fixture
def server(stopped: LoneServer) -> LoneServer:
    """It runs, with TLS and its own settings; a test may stop it or start it otherwise."""
    if not stopped.as_usual:
        stopped.stop(signal.SIGKILL)
        stopped.start()
    return stopped


@asynccontextmanager
async def probing(server: LoneServer, access: Access, *, name: str = NAME, port: int = 0) -> Any:
    probe = XProbe(Member(name, None, Endpoint(HOST, port or server.x_port)), access, timeout=SECONDS)
    try:
        yield probe
    finally:
        await probe.close()


async def look(
    server: LoneServer, login: Login | None = PROBE, *, name: str = NAME, port: int = 0, **tls: Any
) -> Observation:
    async with probing(server, make_access(login, **tls), name=name, port=port) as probe:
        return await probe.look()


@pytest.mark.parametrize(
    ("login", "outcome", "words"),
    [
        (PROBE, Outcome.ANSWERED, ""),
        (Login("probe", "wrong"), Outcome.DENIED, "1045.*check the probe's user and password"),
        (Login("nobody", PASSWORD), Outcome.DENIED, "1045.*check the probe's user and password"),
        (Login("certified", PASSWORD), Outcome.DENIED, "1045.*demands TLS or a certificate"),
        (Login("unprivileged", PASSWORD), Outcome.DENIED, "1142.*GRANT SELECT ON performance_schema"),
        (Login("locked", PASSWORD), Outcome.LOCKED, "3118.*ACCOUNT UNLOCK"),
        (Login("expired", PASSWORD), Outcome.LOCKED, "1862.*new password"),
    ],
    ids=lambda value: value.user if isinstance(value, Login) else "",
)
async def test_accounts(server: LoneServer, login: Login, outcome: Outcome, words: str) -> None:
    told(await look(server, login), outcome, words)


def told(seen: Observation, outcome: Outcome, words: str) -> None:
    assert seen.outcome is outcome, seen.detail
    assert re.search(words, seen.detail), seen.detail


@pytest.fixture
def files(server: LoneServer) -> dict[str, str]:
    """Our certificate, another authority, and a certificate of that."""
    directory = server.directory
    server.certify("ours", "probe")
    certificates.ensure_authority(directory / "stranger.pem", directory / "stranger-key.pem")
    certificate, key = certificates.issue(directory / "stranger.pem", directory / "stranger-key.pem", ["probe"])
    (directory / "strange.pem").write_text(certificate + key)
    names = ("ca", "ours", "ours-key", "stranger", "strange")
    return {name: str(directory / f"{name}.pem") for name in names}


async def test_certificates(server: LoneServer, files: dict[str, str]) -> None:
    ca, other = files["ca"], files["stranger"]
    told(await look(server, ca=ca), Outcome.ANSWERED, "")
    told(await look(server, tls="verify-identity", ca=ca), Outcome.ANSWERED, "")
    told(await look(server, tls="verify-identity", ca=ca, name=HOST), Outcome.ANSWERED, "")
    told(await look(server, tls="verify-ca", ca=ca, name="m9.db.test"), Outcome.ANSWERED, "")
    strange = await look(server, tls="verify-identity", ca=ca, name="m9.db.test")
    told(strange, Outcome.TLS, r"not valid for 'm9\.db\.test'; issue a certificate for the name")
    address = await look(server, tls="verify-identity", ca=ca, name="127.0.0.9")
    told(address, Outcome.TLS, "not valid for '127.0.0.9'; issue a certificate for this address")
    told(await look(server, ca=other), Outcome.TLS, "not signed by our authority")
    told(await look(server, tls="required"), Outcome.ANSWERED, "")

    certified = Login("certified", PASSWORD)
    told(await look(server, certified, cert=files["ours"], key=files["ours-key"]), Outcome.ANSWERED, "")
    refused = await look(server, certified, ca=ca, cert=files["strange"])
    # The server's alert may be lost, since it closes the connection at once after it.
    told(refused, Outcome.TLS, "unknown ca; the server does not accept our certificate|refuses our certificate")


async def test_an_expired_certificate(server: LoneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "LIFE", datetime.timedelta(seconds=-1))
        server.certify("expired", NAME, HOST)
    server.stop(signal.SIGKILL)
    server.start(certificate="expired")
    told(await look(server, ca=server.ca_file), Outcome.TLS, "expired; renew the certificate and restart the server")
    told(await look(server, tls="required"), Outcome.ANSWERED, "")


async def test_a_new_certificate_takes_a_restart(server: LoneServer, files: dict[str, str]) -> None:
    """What the advice above goes by: the X Plugin does not follow ALTER INSTANCE RELOAD TLS."""
    del files
    kept = {name: (server.directory / name).read_text() for name in ("cert.pem", "cert-key.pem")}
    try:
        server.certify("cert", "renewed.test")
        server.sql("ALTER INSTANCE RELOAD TLS")
        told(await look(server, tls="verify-identity", ca=server.ca_file), Outcome.ANSWERED, "")
        server.stop(signal.SIGKILL)
        server.start()
        told(await look(server, tls="verify-identity", ca=server.ca_file), Outcome.TLS, "not valid for")
    finally:
        server.as_usual = False
        for name, text in kept.items():
            (server.directory / name).write_text(text)


async def test_a_server_without_tls(server: LoneServer) -> None:
    server.stop(signal.SIGKILL)
    server.start(certificate=None)
    for mode in ("required", "verify-ca"):
        ca = server.ca_file if mode == "verify-ca" else None
        told(await look(server, tls=mode, ca=ca), Outcome.TLS, "5001.*the server takes no TLS on this port")
    told(await look(server), Outcome.DENIED, "1045.*not cached it and the line is not encrypted: use TLS")


async def test_tls_that_the_server_or_the_account_insists_on(server: LoneServer) -> None:
    encrypted = Login("encrypted", PASSWORD)
    told(await look(server, encrypted, tls="disabled"), Outcome.DENIED, "1045")
    server.sql("FLUSH PRIVILEGES", "SET GLOBAL require_secure_transport = ON")  # which empties the cache, too
    try:
        # The password comes first: only one that is right and cached gets to hear what is wrong.
        told(await look(server, tls="disabled"), Outcome.DENIED, "1045.*: use TLS")
        told(await look(server, tls="preferred"), Outcome.ANSWERED, "")
        told(await look(server, tls="disabled"), Outcome.TLS, "3159.*choose a mode other than disabled")
    finally:
        server.sql("SET GLOBAL require_secure_transport = OFF")
    told(await look(server, tls="disabled"), Outcome.ANSWERED, "")


async def test_too_many_connections(server: LoneServer) -> None:
    async with AsyncExitStack() as held:
        server.sql("SET GLOBAL max_connections = 1")
        for _ in range(3):  # one more than allowed may come in, kept for an administrator; our own statement may linger
            probe = await held.enter_async_context(probing(server, make_access(PROBE)))
            if (seen := await probe.look()).outcome is not Outcome.ANSWERED:
                break
    await readmitted(server, "SET GLOBAL max_connections = DEFAULT")
    told(seen, Outcome.TOO_MANY, "1040.*raise the server's max_connections")


async def readmitted(server: LoneServer, statement: str) -> None:
    """Run a statement as soon as the server has noticed that others have left."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                server.sql(statement)
                return
            except StatementError:
                await asyncio.sleep(0.02)


async def test_too_many_x_sessions(server: LoneServer) -> None:
    async with probing(server, make_access(PROBE)) as held:
        told(await held.look(), Outcome.ANSWERED, "")
        server.sql("SET GLOBAL mysqlx_max_connections = 1")
        try:
            for login in (PROBE, None):
                told(await look(server, login), Outcome.TOO_MANY, "without a byte.*mysqlx_max_connections")
            told(await held.look(), Outcome.ANSWERED, "")
        finally:
            server.sql("SET GLOBAL mysqlx_max_connections = DEFAULT")


async def test_offline_mode(server: LoneServer) -> None:
    async with probing(server, make_access(PROBE)) as held:
        told(await held.look(), Outcome.ANSWERED, "")
        server.sql("SET GLOBAL offline_mode = ON")
        try:
            told(await held.look(), Outcome.OFFLINE_MODE, "3032")
            told(await look(server, None), Outcome.ALIVE, "role unknown")
        finally:
            server.sql("SET GLOBAL offline_mode = OFF")


@pytest.mark.parametrize("hello", [True, False])
async def test_without_an_account_there_is_only_a_sign_of_life(server: LoneServer, hello: bool) -> None:
    server.sql(f"SET GLOBAL mysqlx_enable_hello_notice = {'ON' if hello else 'OFF'}")
    try:
        told(await look(server, None), Outcome.ALIVE, "^alive; role unknown")
        session = await Session.open(HOST, server.x_port, None, timeout=SECONDS)
        assert session.hello_seen == hello
        await session.close()
    finally:
        server.sql("SET GLOBAL mysqlx_enable_hello_notice = ON")


async def test_the_port_of_the_classic_protocol(server: LoneServer) -> None:
    told(await look(server, port=server.port), Outcome.BROKEN, "a port of the classic protocol.*usually 33060")
    told(await look(server, None, port=server.port), Outcome.BROKEN, "a port of the classic protocol.*usually 33060")


async def test_a_session_that_a_person_kills_is_opened_again_with_its_notices(server: LoneServer) -> None:
    async with probing(server, make_access(PROBE)) as probe:
        told(await probe.look(), Outcome.ANSWERED, "")
        first = probe._session
        number = (await first.execute("SELECT CONNECTION_ID()", timeout=SECONDS)).rows[0][0]
        server.sql(f"KILL {number}")
        told(await probe.look(), Outcome.ANSWERED, "")
        assert probe._session is not first
        listed = (await probe._session.execute("list_notices", namespace="mysqlx", timeout=SECONDS)).rows
        enabled = [name for name, on in listed if on and name.startswith(b"group_replication/")]
        assert len(enabled) == 4


async def test_looks_keep_a_session_below_its_idle_timeout(server: LoneServer) -> None:
    server.sql("SET GLOBAL mysqlx_wait_timeout = 1")
    try:
        async with probing(server, make_access(PROBE)) as probe:
            told(await probe.look(), Outcome.ANSWERED, "")
            first = probe._session
            wait = await first.execute("SELECT @@SESSION.mysqlx_wait_timeout", timeout=SECONDS)
            assert wait.rows == ((1,),)
            for _ in range(5):
                await asyncio.sleep(0.5)  # the pace of looks is what is tested
                told(await probe.look(), Outcome.ANSWERED, "")
            assert probe._session is first
            await asyncio.wait_for(first.wait_closed(), SECONDS)  # nobody looks: now it ends
            assert first.last_words.code == 1810
    finally:
        server.sql("SET GLOBAL mysqlx_wait_timeout = DEFAULT")


async def test_a_server_in_shutdown(server: LoneServer) -> None:
    async with probing(server, make_access(PROBE)) as probe:
        told(await probe.look(), Outcome.ANSWERED, "")
        session = probe._session
        server.send(signal.SIGTERM)
        await asyncio.wait_for(session.wait_closed(), SECONDS)  # it says good-bye to sessions before it ends them
        told(await probe.look(), Outcome.SHUTTING_DOWN, "1053")
        told(await probe.look(), Outcome.REFUSED, "")


async def test_a_statement_in_flight_when_the_server_goes(server: LoneServer) -> None:
    async with probing(server, make_access(PROBE)) as probe:
        told(await probe.look(), Outcome.ANSWERED, "")
        server.send(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            while (seen := await probe.look()).outcome is Outcome.ANSWERED:
                pass
        assert seen.outcome in {Outcome.SHUTTING_DOWN, Outcome.REFUSED}, seen.detail
