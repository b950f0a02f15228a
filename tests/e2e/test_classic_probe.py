"""MySQL asked over the classic protocol: what comes is what comes over X, and what each kind of login needs."""

from __future__ import annotations

import itertools

import pytest

from bench.sandbox.sandbox import Sandbox
from cluster.access import Access
from cluster.classic_probe import ClassicProbe
from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome
from cluster.server_status import GROUP, STATUS, VARIABLES
from cluster.x_probe import XProbe
from xproto.session import Login
from xproto.tls import TlsMode, make_context

pytestmark = pytest.mark.sandbox
PASSWORD = "classic-password"
numbers = itertools.count()


@pytest.fixture
def account(sandbox: Sandbox) -> Login:
    """An account that nobody has logged in to, so that no server has its password cached; here, on mysql-0."""
    user = f"classic_{next(numbers)}"
    sandbox.sql("mysql-0", f"CREATE USER {user} IDENTIFIED WITH caching_sha2_password BY '{PASSWORD}'")
    sandbox.sql("mysql-0", f"GRANT SELECT ON performance_schema.* TO {user}")
    return Login(user, PASSWORD)


async def look(sandbox: Sandbox, access: Access, name: str = "") -> Observation:
    where = sandbox.member("mysql-0")
    member = Member(name or "mysql-0.demo.fairlead.test", Endpoint(where.host, where.port), None)
    probe = ClassicProbe(member, access, timeout=5.0)
    try:
        return await probe.look()
    finally:
        await probe.close()


async def test_the_report_is_the_one_that_comes_over_x(sandbox: Sandbox, account: Login) -> None:
    seen = await look(sandbox, Access(account))
    where = sandbox.member("mysql-0")
    x = XProbe(Member("mysql-0", None, Endpoint(where.host, where.x_port)), Access(account), timeout=5.0)
    try:
        over_x = await x.look()
    finally:
        await x.close()
    assert seen.report is not None
    assert over_x.report is not None
    assert len(seen.report.rows) == 3
    assert (seen.report.uuid, seen.report.view_id, seen.report.rows) == (
        over_x.report.uuid,
        over_x.report.view_id,
        over_x.report.rows,
    )


async def test_the_counts_are_those_that_come_over_x(sandbox: Sandbox, account: Login) -> None:
    where, told = sandbox.member("mysql-0"), []
    classic = Member("mysql-0", Endpoint(where.host, where.port), None)
    x = Member("mysql-0", None, Endpoint(where.host, where.x_port))
    for probe in (ClassicProbe(classic, Access(account), timeout=5.0), XProbe(x, Access(account), timeout=5.0)):
        try:
            await probe.look()
            status = await probe.read_status(5.0)
        finally:
            await probe.close()
        assert status is not None
        assert status.values, status.detail
        told.append(status.values)
    expected = len(STATUS) + len(VARIABLES) + len(GROUP)
    assert len(told[0]) == expected
    assert told[0].keys() == told[1].keys()
    assert told[0]["global_variables_max_connections"] == told[1]["global_variables_max_connections"]


async def test_tls_is_verified_by_the_members_name(sandbox: Sandbox, account: Login) -> None:
    mode = TlsMode.VERIFY_IDENTITY
    access = Access(account, mode, make_context(mode, ca_file=sandbox.ca_file))
    assert (await look(sandbox, access)).outcome is Outcome.ANSWERED
    assert (await look(sandbox, access, "mysql-1.demo.fairlead.test")).outcome is Outcome.TLS


async def test_in_clear_a_password_needs_the_servers_cache(sandbox: Sandbox, account: Login) -> None:
    in_clear = Access(account, TlsMode.DISABLED)
    sandbox.sql("mysql-0", "SET GLOBAL require_secure_transport = OFF")
    try:
        cold = await look(sandbox, in_clear)
        assert (cold.outcome, "over TLS only" in cold.detail) == (Outcome.TLS, True), (
            "it took the server's word for a key"
        )
        assert (await look(sandbox, Access(account, TlsMode.PREFERRED))).outcome is Outcome.ANSWERED
        assert (await look(sandbox, in_clear)).outcome is Outcome.ANSWERED
    finally:
        sandbox.sql("mysql-0", "SET GLOBAL require_secure_transport = ON")
    refused = await look(sandbox, in_clear)
    assert (refused.outcome, "insecure transport" in refused.detail) == (Outcome.TLS, True)
