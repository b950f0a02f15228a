"""The X Protocol client against a real server of the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from xproto.errors import ServerError
from xproto.notices import Notice, ServerHello
from xproto.session import Login, Session, TlsMode

SECONDS = 10.0


def login(sandbox: Any) -> Login:
    account = sandbox.accounts["probe"]
    return Login(account.user, account.password)


async def open_session(sandbox: Any, who: Login | None, **options: Any) -> Session:
    member = sandbox.members[0]
    return await Session.open(member.host, member.x_port, who, timeout=SECONDS, **options)


@pytest.fixture
def clear_text(sandbox: Any) -> Iterator[None]:
    """The first member takes connections without TLS, too."""
    name = sandbox.members[0].name
    sandbox.sql(name, "SET GLOBAL require_secure_transport = OFF")
    yield
    sandbox.sql(name, "SET GLOBAL require_secure_transport = ON")


@pytest.mark.sandbox
@pytest.mark.usefixtures("clear_text")
async def test_plain_over_tls_then_sha256_memory_in_clear(sandbox: Any) -> None:
    for tls in (TlsMode.REQUIRED, TlsMode.DISABLED):
        session = await open_session(sandbox, login(sandbox), tls=tls)
        assert session.tls == (tls is TlsMode.REQUIRED)
        assert session.hello_seen
        assert session.client_id is not None
        assert (await session.execute("SELECT 1 + ?", [1], timeout=SECONDS)).rows == ((2,),)
        await session.close()


@pytest.mark.sandbox
async def test_a_server_that_insists_on_tls(sandbox: Any) -> None:
    with pytest.raises(ServerError) as caught:
        await open_session(sandbox, login(sandbox), tls=TlsMode.DISABLED)
    assert caught.value.code == 3159


@pytest.mark.sandbox
async def test_a_wrong_password(sandbox: Any) -> None:
    who = login(sandbox)
    with pytest.raises(ServerError) as caught:
        await open_session(sandbox, Login(who.user, who.password + "x"))
    assert caught.value.code == 1045


@pytest.mark.sandbox
async def test_a_sign_of_life_without_a_login(sandbox: Any) -> None:
    seen: list[Notice] = []
    session = await open_session(sandbox, None, on_notice=seen.append)
    assert session.hello_seen
    assert seen == [ServerHello()]
    assert session.capabilities["node_type"] == "mysql"
    await session.close()


@pytest.mark.sandbox
async def test_values_of_every_type(sandbox: Any) -> None:
    session = await open_session(sandbox, login(sandbox))
    result = await session.execute(
        "SELECT -1, CAST(1 AS UNSIGNED), 1.5e0, 1.50, 'é', x'00ff', NULL, DATE'2026-11-20',"
        " TIMESTAMP'2026-11-20 01:02:03.000004', TIME'-01:00:00.5', CAST('{\"k\": 1}' AS JSON), @@read_only",
        timeout=SECONDS,
    )
    assert result.rows[0][:-1] == (
        -1,
        1,
        1.5,
        Decimal("1.50"),
        "é",
        b"\0\xff",
        None,
        date(2026, 11, 20),
        datetime(2026, 11, 20, 1, 2, 3, 4),
        -timedelta(hours=1, microseconds=500_000),
        '{"k": 1}',
    )
    assert result.rows[0][-1] in (0, 1)
    await session.close()


@pytest.mark.sandbox
async def test_notices_can_be_asked_for_and_a_statement_can_fail(sandbox: Any) -> None:
    session = await open_session(sandbox, login(sandbox))
    await session.enable_notices(timeout=SECONDS)
    with pytest.raises(ServerError) as caught:
        await session.execute("SELECT", timeout=SECONDS)
    assert (caught.value.code, caught.value.sql_state) == (1064, "42000")
    assert (await session.execute("SELECT 1", timeout=SECONDS)).rows == ((1,),)
    await session.close()


@pytest.mark.sandbox
async def test_pings_between_statements(sandbox: Any) -> None:
    session = await open_session(sandbox, login(sandbox))
    for number in range(20):
        assert session.ping()
        assert session.ping()
        assert (await session.execute("SELECT ?", [number], timeout=SECONDS)).rows == ((number,),)
    assert session.ping()
    await session.close()
    assert session.last_words is None


@pytest.mark.sandbox
async def test_a_server_says_why_it_ends_a_session(sandbox: Any) -> None:
    session = await open_session(sandbox, login(sandbox))
    await session.execute("SET SESSION mysqlx_wait_timeout = 1", timeout=SECONDS)
    await asyncio.wait_for(session.wait_closed(), SECONDS)
    assert session.last_words is not None
    assert session.last_words.code == 1810
    with pytest.raises(ConnectionError, match="read_timeout"):
        await session.execute("SELECT 1", timeout=SECONDS)
