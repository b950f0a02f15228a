"""One member asked over the classic protocol: servers without the X Protocol, MariaDB above all.

Owns the one session kept open to ask it, and which kind of server is asked what. Must not know other members.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cluster.access import BY_CODE, FAILURES, Access, name_failure
from cluster.classic_session import ClassicSession, Rows
from cluster.galera_questions import ASK_MARIADB, compare, read_mariadb
from cluster.interview import Interview
from cluster.members import Member
from cluster.observations import Observation, Outcome, Report
from cluster.server_status import (
    ASK_MARIADB_STATUS,
    ASK_STATUS,
    ServerStatus,
    read_mariadb_status,
    read_status,
)
from xproto.errors import ServerError
from xproto.notices import Notice
from xproto.session import Login

# Nobody: a server that turns it away has shown that it lives. To hang up on its greeting would show that as well, but
# is a broken handshake, and after `max_connect_errors` of those in a row a server blocks the host they come from.
NOBODY = Login("", "")
NOBODY_IS_TOLD = frozenset({Outcome.DENIED, Outcome.LOCKED, Outcome.TLS})  # how a server that lives turns away nobody
HOST_REFUSED = frozenset({1129, 1130})  # it turns away whoever comes from here, our users too
MARIADB = "MariaDB"  # in the version that its greeting names
# Seconds between the two questions of the first look at a Galera node. Who starts must learn where writes go, and a
# cluster that takes a few dozen a second shows it by then.
LISTENING = 0.25
# What a server is asked for its counts, and what reads its answer.
COUNTS = {MARIADB: (ASK_MARIADB_STATUS, read_mariadb_status), "": (ASK_STATUS, read_status)}


class ClassicProbe:
    """Asks one member, over a session that it keeps between questions.

    Args:
        member: whom to ask.
        access: account and TLS.
        timeout: seconds for one look, connecting included.
        on_notice: never called: the protocol has none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        member: Member,
        access: Access,
        *,
        timeout: float,
        on_notice: Callable[[Notice], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        del on_notice
        self.member = member
        self._access = access
        self._timeout = timeout
        self._clock = clock
        self._session: ClassicSession | None = None
        self._interview = Interview(clock)
        self._heard: tuple[float, Report] | None = None  # what a Galera node said last, and when

    async def look(self) -> Observation:
        """Ask once. A failure is an observation too: nothing but cancellation is raised."""
        taken_at = self._clock()
        try:
            if self._access.login is None:
                return await self._look_as_nobody(taken_at)
            report = await self._report(self._access.login, taken_at + self._timeout)
        except FAILURES as error:
            await self.close()
            outcome, detail = name_failure(error, self._timeout)
            return Observation(self.member, taken_at, outcome, detail=detail)
        return Observation(self.member, taken_at, Outcome.ANSWERED, report)

    @property
    def hears_notices(self) -> bool:
        """Never: the classic protocol has no notices."""
        return False

    def nudge(self) -> bool:
        """Nothing to deliver."""
        return True

    async def read_status(self, timeout: float) -> ServerStatus | None:
        """Ask what the server counts of itself, over the session that is open; None where there is none."""
        session, taken_at = self._session, self._clock()
        if session is None or session.closed:
            return None
        kind = MARIADB if MARIADB in session.server_version else ""
        question, read = COUNTS[kind]
        try:
            return ServerStatus(taken_at, read(await session.execute(question, timeout=timeout)))
        except FAILURES as error:
            return ServerStatus(taken_at, detail=name_failure(error, timeout)[1])

    async def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _look_as_nobody(self, taken_at: float) -> Observation:
        detail = "alive; role unknown, for no account was given to ask with"
        try:
            await self._open(NOBODY, taken_at + self._timeout)
        except ServerError as error:
            outcome, _ = BY_CODE.get(error.code, (Outcome.BROKEN, ""))
            if outcome not in NOBODY_IS_TOLD or error.code in HOST_REFUSED:
                raise
        await self.close()
        return Observation(self.member, taken_at, Outcome.ALIVE, detail=detail)

    async def _report(self, login: Login, deadline: float) -> Report:
        if self._session is not None and not self._session.closed:
            try:
                return await self._ask(self._session, deadline)
            except ConnectionError:
                pass  # it ended while idle, as sessions may; a new one tells how the member really is
        await self.close()
        return await self._ask(await self._open(login, deadline), deadline)

    async def _open(self, login: Login, deadline: float) -> ClassicSession:
        if self.member.classic is None:
            raise OSError("no record names a classic port for it")
        self._session = await ClassicSession.open(
            self.member.classic.host,
            self.member.classic.port,
            login,
            tls=self._access.tls,
            ssl_context=self._access.ssl_context,
            server_hostname=self.member.name,
            timeout=self._left(deadline),
        )
        self._interview.begin()
        return self._session

    async def _ask(self, session: ClassicSession, deadline: float) -> Report:
        # The greeting tells, so that no statement need be one that both kinds take.
        if MARIADB in session.server_version:
            report = await self._ask_mariadb(session, deadline)
            if self._heard is None and report.galera is not None and self._left(deadline) > 2 * LISTENING:
                self._heard = self._clock(), report
                await asyncio.sleep(LISTENING)
                report = await self._ask_mariadb(session, deadline)
            self._heard = self._clock(), report
            return report

        async def ask(statement: str) -> Rows:
            return await session.execute(statement, timeout=self._left(deadline))

        return await self._interview.report(ask)

    async def _ask_mariadb(self, session: ClassicSession, deadline: float) -> Report:
        report = read_mariadb(await session.execute(ASK_MARIADB, timeout=self._left(deadline)))
        at, before = self._heard or (self._clock(), None)
        seconds = self._clock() - at
        return compare(report, before, seconds) if seconds > 0 else report

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left
