"""The members as one group: who is online, starting the group, joining it, changing its primary. SQL over Unix
sockets; knows neither processes nor networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from bench.sandbox.deadlines import PACE, wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.grants import GRANTEES, recovery_statement
from bench.sandbox.layout import Layout
from bench.sandbox.record import Member
from bench.sandbox.statements import Result, StatementError, run
from bench.sandbox.views import IN_GROUP, Seen, Standing, View, all_online, judge, most_advanced

# Seconds.
VIEW_TIMEOUT = 2.0
# A member that is about to join by itself is left alone for this long: after a cut it has to find out that it was
# expelled, and to leave, which takes up to 30 s. Told to stop in the middle of that, it would hang for a minute.
JOIN_PATIENCE = 45.0
VIEW_QUERY = (
    "SELECT @@server_uuid, COALESCE((SELECT view_id FROM performance_schema.replication_group_member_stats "
    "WHERE member_id = @@server_uuid), ''), EXISTS (SELECT 1 FROM performance_schema.events_stages_current "
    "WHERE event_name LIKE 'stage/group_rpl/%auto-rejoin%'), member_id, member_state, member_role "
    "FROM performance_schema.replication_group_members"
)
HELD_QUERY = (
    "SELECT @@GLOBAL.gtid_executed, GTID_SUBTRACT(COALESCE((SELECT received_transaction_set "
    "FROM performance_schema.replication_connection_status WHERE channel_name = 'group_replication_applier'), ''), "
    "@@GLOBAL.gtid_executed)"
)
# The sandbox asks what is, also of a new primary that holds others until it has caught up.
UNHELD = "SET SESSION group_replication_consistency = 'EVENTUAL'"

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Group:
    """The group of one sandbox."""

    def __init__(self, layout: Layout, members: Sequence[Member]) -> None:
        self._layout = layout
        self._names = tuple(member.name for member in members)
        self._password = layout.password("admin")
        self._replication_password = layout.password("replication")

    def run(self, name: str, statements: list[str], timeout: float | None = None) -> Result:
        """Run statements on a member as the administrator, in one session; return the last one's result.

        Raises:
            StatementError: the member refuses one or does not answer.
        """
        limits = {} if timeout is None else {"timeout": timeout}
        return run(self._layout.socket(name), GRANTEES["admin"].user, self._password, statements, **limits)

    def answers(self, name: str) -> bool:
        """Whether the member takes statements."""
        try:
            self.run(name, ["SELECT 1"], VIEW_TIMEOUT)
        except StatementError:
            return False
        return True

    def views(self) -> dict[str, View]:
        """Return the views of the members that answer."""
        found = in_parallel(self._view, self._names)
        return {name: view for name, view in zip(self._names, found, strict=True) if view is not None}

    def standings(self) -> dict[str, Standing]:
        """Return what to believe of the members that answer."""
        return judge(self.views())

    def form(self, names: Sequence[str], timeout: float) -> None:
        """Make these members, whose servers run, one group: all ONLINE.

        Where no group is left, it is started from the member that has the most transactions.

        Raises:
            SandboxError: it did not come about in time.
        """
        deadline = time.monotonic() + timeout
        leave_until = time.monotonic() + JOIN_PATIENCE
        lost_since: float | None = None
        trouble = ""
        begun: dict[str, Future[str]] = {}
        executor = ThreadPoolExecutor(len(names), thread_name_prefix="sandbox-join")
        try:
            while True:
                views = {name: view for name, view in self.views().items() if name in names}
                standings = judge(views)
                busy = [name for name, future in begun.items() if not future.done()]
                if all_online(names, standings) and not busy:
                    return
                if time.monotonic() > deadline:
                    troubles = {name: future.result() for name, future in begun.items() if future.done()}
                    told = _told(names, standings, troubles) + (f"; {trouble}" if trouble else "")
                    raise SandboxError(f"the group did not form within {timeout:.0f} s: {told}")
                inside = {name for name in views if standings[name].state in IN_GROUP}
                impatient = time.monotonic() > leave_until
                outside = [
                    name
                    for name, view in views.items()
                    if name not in inside and name not in busy and (view.is_stuck or impatient)
                ]
                if inside:
                    lost_since = None
                    # Two that join at once collide, and one of them tries again only after 5 s.
                    if outside and inside.issuperset(busy):
                        name = min(outside, key=lambda name: name in begun)
                        begun[name] = executor.submit(self._try_join, name, deadline)
                elif not busy and len(views) == len(names):
                    lost_since = lost_since or time.monotonic()
                    # Nobody founds a group while somebody may still be in one, or there would be two.
                    settled = all(view.is_stuck for view in views.values())
                    if settled or time.monotonic() - lost_since > JOIN_PATIENCE:
                        try:
                            first = self._most_advanced(names, deadline)
                        except StatementError as exc:
                            trouble = str(exc)
                        else:
                            begun[first] = executor.submit(self._try_found, first, deadline)
                time.sleep(PACE)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def forgets(self, uuid: str) -> bool:
        """Whether no member that is in the group has this one in its view.

        While one has, a new process of that member is turned away, and tries again after 12 s or not at all.
        """
        listed = (row for view in self.views().values() if view.has_majority for row in view.seen)
        return all(row.uuid != uuid for row in listed)

    def bring_online(self, name: str, timeout: float, *, joins_by_itself: bool) -> None:
        """Wait until a member is ONLINE, making it join when it does not by itself.

        Args:
            timeout: seconds.
            joins_by_itself: its server was started a moment ago and is about to.

        Raises:
            SandboxError: it is not ONLINE in time.
        """
        deadline = time.monotonic() + timeout
        leave_until = time.monotonic() + JOIN_PATIENCE
        trouble = ""
        while True:
            views = self.views()
            standings = judge(views)
            state = standings[name].state if name in standings else ""
            if state == "ONLINE":
                return
            now = time.monotonic()
            if now > deadline:
                told = _told(self._names, standings, {name: trouble})
                raise SandboxError(f"{name} is not ONLINE after {timeout:.0f} s: {told}")
            stuck = name in views and views[name].is_stuck and not joins_by_itself
            if state and state not in IN_GROUP and (stuck or now > leave_until):
                trouble = self._try_join(name, deadline)
            time.sleep(PACE)

    def switch(self, name: str, timeout: float) -> None:
        """Make a member the primary, in order: transactions in flight end first.

        Raises:
            SandboxError: the group refuses, or it takes longer than `timeout` seconds.
        """
        standings = self.standings()
        if name not in standings or standings[name].state != "ONLINE":
            raise SandboxError(f"{name} is not ONLINE, so it cannot become the primary: `fairlead sandbox status`")
        if standings[name].role == "PRIMARY":
            return
        call = f"SELECT group_replication_set_as_primary('{standings[name].uuid}')"
        try:
            self.run(name, [UNHELD, call], timeout)
        except StatementError as exc:
            raise SandboxError(f"the group did not make {name} its primary: {exc}") from exc

    def wait_writable(self, name: str, timeout: float) -> None:
        """Wait until a member takes writes.

        Raises:
            SandboxError: it does not within `timeout` seconds.
        """
        if not wait_until(lambda: self._is_writable(name), timeout):
            raise SandboxError(f"{name} is the primary and does not take writes after {timeout:.0f} s")

    def _is_writable(self, name: str) -> bool:
        try:
            rows = self.run(name, ["SELECT @@GLOBAL.super_read_only"], VIEW_TIMEOUT).rows
        except StatementError:
            return False
        return rows == ((0,),)

    def _view(self, name: str) -> View | None:
        try:
            rows = self.run(name, [UNHELD, VIEW_QUERY], VIEW_TIMEOUT).rows
        except StatementError:
            return None
        if not rows:
            return None
        seen = tuple(Seen(str(row[3]), str(row[4]), str(row[5])) for row in rows)
        return View(str(rows[0][0]), str(rows[0][1]), seen, rejoining=bool(rows[0][2]))

    def _most_advanced(self, names: Sequence[str], deadline: float) -> str:
        """Take every member out of whatever group it is in, and return the one that has the most transactions."""
        in_parallel(lambda name: self._leave(name, deadline), names)
        rows = in_parallel(lambda name: self.run(name, [HELD_QUERY], _left(deadline)).rows[0], names)
        return most_advanced({name: [str(value) for value in row] for name, row in zip(names, rows, strict=True)})

    def _try_found(self, name: str, deadline: float) -> str:
        """Make a member found the group; return why it could not, or nothing."""
        option = "SET GLOBAL group_replication_bootstrap_group ="
        try:
            try:
                start = [f"{option} ON", "START GROUP_REPLICATION"]
                self.run(name, [recovery_statement(self._replication_password), *start], _left(deadline))
            finally:
                # Left on, a later start of this member would found a second group.
                self.run(name, [f"{option} OFF"], _left(deadline))
        except StatementError as exc:
            return str(exc)
        return ""

    def _leave(self, name: str, deadline: float) -> None:
        self.run(name, ["STOP GROUP_REPLICATION", "SET GLOBAL offline_mode = OFF"], _left(deadline))

    def _try_join(self, name: str, deadline: float) -> str:
        """Make a member join; return why it could not, or nothing."""
        try:
            self._leave(name, deadline)
            start = [recovery_statement(self._replication_password), "START GROUP_REPLICATION"]
            self.run(name, start, _left(deadline))
        except StatementError as exc:
            return str(exc)
        return ""


def in_parallel(call: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Call a function on each item at once and return the answers in order; the first failure is raised."""
    items = list(items)
    if not items:
        return []
    executor = ThreadPoolExecutor(len(items), thread_name_prefix="sandbox")
    try:
        return [future.result() for future in [executor.submit(call, item) for item in items]]
    finally:
        # Ctrl-C does not wait for them: they end when the servers are stopped.
        executor.shutdown(wait=False, cancel_futures=True)


def _left(deadline: float) -> float:
    """Return the seconds that a statement may take; one that is begun at all gets a few."""
    return max(deadline - time.monotonic(), VIEW_TIMEOUT)


def _told(names: Sequence[str], standings: dict[str, Standing], troubles: dict[str, str]) -> str:
    parts = []
    for name in names:
        state = standings[name].state if name in standings else "no answer"
        parts.append(f"{name} {state}" + (f" ({troubles[name]})" if troubles.get(name) else ""))
    return ", ".join(parts)
