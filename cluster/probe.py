"""One member asked over the X Protocol.

Owns the questions, the one session kept open to ask them, and what each failure is called. Must not know other members.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.members import Member, Role, State
from cluster.observations import Observation, Outcome, Report, ViewRow, parse_view_id
from xproto.client import Result
from xproto.errors import RemoteProtocolError, ServerError
from xproto.notices import Notice
from xproto.session import Login, Session, TlsMode

# One row for each row of the member's own view, so that everything comes in one round trip.
_ASK = """
SELECT @@server_uuid, @@read_only OR @@super_read_only, @@offline_mode, @@version, {of_group},
       stats.VIEW_ID,
       COALESCE(stats.COUNT_TRANSACTIONS_IN_QUEUE + stats.COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE, 0),
       view_row.MEMBER_ID, view_row.MEMBER_HOST, view_row.MEMBER_PORT, view_row.MEMBER_ROLE, view_row.MEMBER_STATE,
       view_row.MEMBER_VERSION
  FROM (SELECT 1) AS always
  LEFT JOIN performance_schema.replication_group_members AS view_row ON TRUE
  LEFT JOIN performance_schema.replication_group_member_stats AS stats ON stats.MEMBER_ID = @@server_uuid
"""
ASK_GROUP = _ASK.format(of_group="@@group_replication_group_name, @@group_replication_single_primary_mode")
# Where the Group Replication plugin is not loaded, its variables do not exist.
ASK_SERVER = _ASK.format(of_group="'', 1")

UNKNOWN_SYSTEM_VARIABLE = 1193
_OUTCOME_BY_CODE = {
    1040: Outcome.TOO_MANY,  # ER_CON_COUNT_ERROR
    1044: Outcome.DENIED,  # ER_DBACCESS_DENIED_ERROR
    1045: Outcome.DENIED,  # ER_ACCESS_DENIED_ERROR
    1053: Outcome.REFUSED,  # ER_SERVER_SHUTDOWN
    1142: Outcome.DENIED,  # ER_TABLEACCESS_DENIED_ERROR
    1203: Outcome.TOO_MANY,  # ER_TOO_MANY_USER_CONNECTIONS
    1698: Outcome.DENIED,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1862: Outcome.DENIED,  # ER_MUST_CHANGE_PASSWORD_LOGIN
    3032: Outcome.OFFLINE_MODE,  # ER_SERVER_OFFLINE_MODE
    3118: Outcome.DENIED,  # ER_ACCOUNT_HAS_BEEN_LOCKED
}


@dataclass(frozen=True, slots=True)
class Access:
    """How probes get in. Without a login they can only tell that something is alive."""

    login: Login | None
    tls: TlsMode = TlsMode.PREFERRED
    ssl_context: ssl.SSLContext | None = None


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
        self._question = ASK_GROUP

    async def look(self) -> Observation:
        """Ask once. A failure is an observation too: nothing but cancellation is raised."""
        taken_at = self._clock()
        try:
            report = await self._report(taken_at + self._timeout)
        except TimeoutError:
            await self.close()
            return Observation(self.member, taken_at, Outcome.TIMEOUT, detail=f"no answer within {self._timeout:g} s")
        except ServerError as error:
            await self.close()
            outcome = _OUTCOME_BY_CODE.get(error.code, Outcome.BROKEN)
            return Observation(self.member, taken_at, outcome, detail=f"error {error.code}: {error.message}")
        except RemoteProtocolError as error:
            await self.close()
            return Observation(self.member, taken_at, Outcome.BROKEN, detail=str(error))
        except ssl.SSLError as error:
            await self.close()
            return Observation(self.member, taken_at, Outcome.DENIED, detail=f"TLS: {error.reason or error}")
        except OSError as error:
            await self.close()
            return Observation(self.member, taken_at, Outcome.REFUSED, detail=error.strerror or str(error))
        except UnicodeError as error:
            await self.close()
            return Observation(self.member, taken_at, Outcome.BROKEN, detail=f"not the name of a host: {error}")
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
        return open_to_us and self._question is ASK_GROUP

    async def nudge(self) -> bool:
        """Have the server deliver the notices it holds, and say whether the session still lives.

        An X session that says nothing gets its notices on a half-second tick; one that speaks gets them at once. The
        admin command `ping` is the cheapest thing to say.
        """
        if self._session is None:
            return False
        try:
            await self._session.execute("ping", namespace="mysqlx", timeout=self._timeout)
        except (OSError, TimeoutError, ServerError, RemoteProtocolError):
            return False  # the next look says what is wrong
        return True

    async def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _report(self, deadline: float) -> Report | None:
        if self._session is not None and not self._session.closed:
            try:
                return await self._ask(self._session, deadline)
            except ConnectionError:
                pass  # it ended while idle, as sessions may; a new one tells how the member really is
            except ServerError as error:
                if not error.fatal:
                    raise
        await self.close()
        if self.member.x is None:
            raise OSError("no record names an X Protocol port for it")
        self._session = await Session.open(
            self.member.x.host,
            self.member.x.port,
            self._access.login,
            tls=self._access.tls,
            ssl_context=self._access.ssl_context,
            server_hostname=self.member.name,
            timeout=self._left(deadline),
            on_notice=self._on_notice,
        )
        if self._access.login is None:
            return None
        await self._session.enable_notices(timeout=self._left(deadline))
        return await self._ask(self._session, deadline)

    async def _ask(self, session: Session, deadline: float) -> Report:
        try:
            result = await session.execute(self._question, timeout=self._left(deadline))
        except ServerError as error:
            if error.code != UNKNOWN_SYSTEM_VARIABLE or self._question is ASK_SERVER:
                raise
            self._question = ASK_SERVER
            result = await session.execute(self._question, timeout=self._left(deadline))
        return read_report(result)

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


def read_report(result: Result) -> Report:
    """Read the answer to the probe's question.

    Raises:
        RemoteProtocolError: the answer has another shape than the question asks for.
    """
    try:
        uuid, read_only, offline_mode, version, group_name, single_primary, view_id, queued = result.rows[0][:8]
        return Report(
            uuid=str(uuid),
            read_only=bool(int(str(read_only))),
            offline_mode=bool(int(str(offline_mode))),
            group_name=str(group_name or ""),
            view_id=parse_view_id(None if view_id is None else str(view_id)),
            rows=tuple(
                ViewRow(
                    str(row[8]),
                    str(row[9]),
                    int(str(row[10])),
                    Role(row[11] or "UNKNOWN"),
                    State(row[12]),
                    str(row[13]),
                )
                for row in result.rows
                if row[8]
            ),
            single_primary=bool(int(str(single_primary))),
            queued=int(str(queued)),
            version=str(version),
        )
    except (IndexError, ValueError) as exc:
        raise RemoteProtocolError(f"unexpected answer to the probe's question: {exc}") from exc
