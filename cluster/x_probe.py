"""One member asked over the X Protocol.

Owns the one session kept open to ask it. Must not know what is asked, nor other members.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.access import FAILURES, LEAVING, Access, name_failure
from cluster.interview import Interview
from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome, Report
from cluster.server_status import ASK_STATUS, ServerStatus, read_status
from xproto.errors import ServerError
from xproto.notices import Notice
from xproto.rows import Value
from xproto.session import Session


class XProbe:
    """Asks one member, over a session that it keeps between questions.

    Args:
        member: whom to ask.
        access: account and TLS.
        timeout: seconds for one look, connecting included.
        on_notice: called at once for each notice, also between looks.
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
        self.member = member
        self._access = access
        self._timeout = timeout
        self._on_notice = on_notice
        self._clock = clock
        self._session: Session | None = None
        self._interview = Interview(clock)

    async def look(self) -> Observation:
        """Ask once. A failure is an observation too: nothing but cancellation is raised."""
        taken_at = self._clock()
        try:
            report = await self._ask_within(taken_at + self._timeout)
        except FAILURES as error:
            await self.close()
            outcome, detail = name_failure(error, self._timeout)
            return Observation(self.member, taken_at, outcome, detail=detail)
        if report is None:
            await self.close()  # kept, it would go on looking alive
            detail = "alive; role unknown, for no account was given to ask with"
            return Observation(self.member, taken_at, Outcome.ALIVE, detail=detail)
        return Observation(self.member, taken_at, Outcome.ANSWERED, report)

    @property
    def hears_notices(self) -> bool:
        """Whether a session to a server with Group Replication is open."""
        session = self._session
        open_to_us = session is not None and not session.closed and self._access.login is not None
        return open_to_us and self._interview.of_group

    def nudge(self) -> bool:
        """Have the member deliver the notices that it holds; return at once, and say whether the session still lives.

        An X session that says nothing gets its notices on a half-second tick; one that speaks gets them at once.
        """
        return self._session is not None and self._session.ping()

    async def read_status(self, timeout: float) -> ServerStatus | None:
        """Ask what the server counts of itself, over the session that is open; None where there is none."""
        session, taken_at = self._session, self._clock()
        if session is None or session.closed or self._access.login is None:
            return None
        try:
            rows = (await session.execute(ASK_STATUS, timeout=timeout)).rows
            return ServerStatus(taken_at, read_status(rows))
        except FAILURES as error:
            return ServerStatus(taken_at, detail=name_failure(error, timeout)[1])

    async def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask_within(self, deadline: float) -> Report | None:
        parting: Exception | None = None  # what the session was ended with
        if self._session is not None and not self._session.closed:
            try:
                return await self._ask(self._session, deadline)
            except ConnectionError as error:
                parting = error  # it ended, as sessions may; a new one tells how the member really is
            except ServerError as error:
                if not error.fatal and error.code not in LEAVING:
                    raise
                parting = error
        if self._session is not None:
            parting = (
                self._session.last_words
                or parting
                or ConnectionResetError("the session ended, and no new one is taken")
            )
        await self.close()
        if self.member.x is None:
            raise OSError("no record names an X Protocol port for it")
        try:
            self._session = await self._open(self.member.x, deadline)
        except ConnectionError as error:
            if parting is not None:  # which says more than how the next one is kept out
                raise parting from error
            raise
        except ServerError as error:
            if isinstance(parting, ServerError) and parting.code in LEAVING:
                raise parting from error
            raise
        self._interview.begin()
        if self._access.login is None:
            return None
        await self._session.enable_notices(timeout=self._left(deadline))
        return await self._ask(self._session, deadline)

    async def _open(self, endpoint: Endpoint, deadline: float) -> Session:
        return await Session.open(
            endpoint.host,
            endpoint.port,
            self._access.login,
            tls=self._access.tls,
            ssl_context=self._access.ssl_context,
            server_hostname=self.member.name,
            timeout=self._left(deadline),
            on_notice=self._on_notice,
        )

    async def _ask(self, session: Session, deadline: float) -> Report:
        async def ask(statement: str) -> tuple[tuple[Value, ...], ...]:
            return (await session.execute(statement, timeout=self._left(deadline))).rows

        return await self._interview.report(ask)

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left
