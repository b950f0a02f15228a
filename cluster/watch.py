"""A cluster followed: one probe a member, and a fresh topology after each look.

Owns when to look. What is seen is judged in `diagnosis.py`; where the members come from is the caller's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from cluster.access import Access
from cluster.diagnosis import diagnose
from cluster.evidence import Policy
from cluster.members import Member, Role, State
from cluster.observations import Observation, Outcome
from cluster.probe import MakeProbe, Probe, make_probe
from cluster.server_status import ServerStatus
from cluster.topology import Topology, Trust, changes
from xproto.notices import GroupReplicationStateChanged, Notice

log = logging.getLogger("fairlead.cluster")

Subscriber = Callable[[Topology, Topology], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """When to look at members. All in seconds.

    poll: between looks while all is calm; MySQL Router's metadata TTL.
    timeout: for one look. Half of `Policy.max_age`, so that one lost look does not age a member out.
    notice_interval: between two moments at which some member can deliver a notice: members take turns in being nudged
        (`Probe.nudge`), unless one has just been looked at. Without it notices are up to half a second late; it costs
        50 to 100 us a time, whatever the size of the cluster.
    burst_interval: between looks after a notice: the group's change must be seen well within a person's notice,
        and 100 looks a second cost a member less than one of its clients does.
    burst: how long a notice keeps looks at that pace: roles change before the new primary is writable.
    unsettled_interval: between looks while a majority answers and no member may be written to.
    unsettled_for: how long after the latest change; a cluster may be kept without a primary for days.
    reconnect_ceiling: the longest wait before a member that does not answer is tried again.
    status_interval: between two questions for what a server counts of itself (`Watch.statuses`); 0: it is not asked. It
        is asked between two looks, while all is calm.
    status_timeout: for its answer, which takes a few milliseconds. A member that has not answered by then is looked at
        at once, so that one which hangs is found no later for it.
    """

    poll: float = 0.5
    timeout: float = 1.5
    notice_interval: float = 0.03
    burst_interval: float = 0.01
    burst: float = 1.0
    unsettled_interval: float = 0.05
    unsettled_for: float = 60.0
    reconnect_ceiling: float = 1.0
    status_interval: float = 0.0
    status_timeout: float = 0.25


class Watch:
    """Follows a set of members and publishes `topology` by assignment.

    Args:
        access: how probes get in.
        timing: when to look.
        policy: how observations are judged.
        make_probe: makes the probe of a member.
        on_observation: told of every look, for metrics.
        clock: monotonic seconds.
        rng: spreads reconnects.
    """

    def __init__(
        self,
        access: Access,
        *,
        timing: Timing | None = None,
        policy: Policy | None = None,
        make_probe: MakeProbe = make_probe,
        on_observation: Callable[[Observation], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.topology = Topology()
        self.timing = timing or Timing()
        self._access = access
        self._policy = policy or Policy()
        self._make_probe = make_probe
        self.on_observation = on_observation
        self._clock = clock
        self._rng = rng or random.Random()
        self._members: dict[str, Member] = {}
        self._observations: dict[str, Observation] = {}
        self.statuses: dict[str, ServerStatus] = {}
        """What each server counted of itself when it was last asked."""
        self._told: dict[str, tuple[Outcome, str]] = {}  # what was last logged of each
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._probes: dict[str, Probe] = {}
        self._turns: deque[str] = deque()  # whose turn it is to be nudged
        self._judged: list[tuple[object, bool]] = []  # what the latest judgement rests on
        self._group: asyncio.TaskGroup | None = None
        self._subscribers: list[Subscriber] = []
        self._burst_until = 0.0
        self._changed_at = 0.0
        self._beat = self._rng.random()  # so that the watches of one process do not beat together
        self._nudging: asyncio.TimerHandle | None = None
        self._asked_at = 0.0  # when some member was asked last

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber(old, new)` called, synchronously, whenever a fact of the topology changes."""
        self._subscribers.append(subscriber)

    def set_members(self, members: Iterable[Member]) -> None:
        """Replace the set of members; probes of those that stay go on undisturbed."""
        wanted = {member.name: member for member in members}
        if wanted == self._members and _weights(wanted) == _weights(self._members):
            return
        for name, member in self._members.items():
            if wanted.get(name) != member:
                self._observations.pop(name, None)
                self.statuses.pop(name, None)
                self._told.pop(name, None)
                task = self._tasks.pop(name, None)
                if task is not None:
                    task.cancel()
        self._members = wanted
        self._turns = deque(wanted)
        self._start_missing()
        self._judge()

    @property
    def seen(self) -> bool:
        """Whether a first topology stands: a majority answered, or every member could be asked at least once."""
        return self.asked_all or self.topology.trust is not Trust.BLIND

    @property
    def asked_all(self) -> bool:
        """Whether there are members, and each was asked at least once."""
        asked = [
            name in self._observations and (member.x or member.classic) is not None
            for name, member in self._members.items()
        ]
        return bool(asked and all(asked))

    def look_now(self) -> None:
        """Look at all members at once, and again in a short burst. Cheap to call often: looks coalesce."""
        self._burst_until = self._clock() + self.timing.burst
        for wake in self._wakes.values():
            wake.set()

    async def run(self) -> NoReturn:
        """Probe until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._nudge_next()
                self._start_missing()
                while True:  # observations age, whether or not new ones come, and members slow
                    await asyncio.sleep(self.timing.poll)
                    self._judge_again()
        finally:
            if self._nudging is not None:
                self._nudging.cancel()
            self._group = None
            self._tasks.clear()
        raise AssertionError("unreachable")

    def _start_missing(self) -> None:
        if self._group is None:
            return
        for name, member in self._members.items():
            if name not in self._tasks:
                self._tasks[name] = self._group.create_task(self._follow(member), name=f"probe {name}")

    async def _follow(self, member: Member) -> None:
        probe = self._make_probe(
            member, self._access, timeout=self.timing.timeout, on_notice=self._noticed, clock=self._clock
        )
        wake = self._wakes[member.name] = asyncio.Event()
        self._probes[member.name] = probe
        failures = 0
        try:
            while True:
                wake.clear()
                self._asked_at = self._clock()
                seen = await self._look(probe, member)
                failures = 0 if seen.report else failures + 1
                self._observed(seen)
                if seen.report and self._may_ask_status(member, wake) and not await self._ask_status(probe, member):
                    continue
                until = self._next_look(seen.taken_at) if failures == 0 else self._clock() + self._backoff(failures)
                if await self._rest(wake, until):
                    # Asked to look now, but never more often than a burst does: a flood of notices is one hint.
                    await asyncio.sleep(max(0.0, seen.taken_at + self.timing.burst_interval - self._clock()))
        finally:
            if self._wakes.get(member.name) is wake:
                del self._wakes[member.name]
                del self._probes[member.name]
            await probe.close()

    async def _look(self, probe: Probe, member: Member) -> Observation:
        """Look once; a fault of ours with one member's answer must not end the watch over all."""
        taken_at = self._clock()
        try:
            return await probe.look()
        except Exception as exc:
            log.exception("probe of %s: a fault in reading its answer", member.name)
            await probe.close()
            return Observation(member, taken_at, Outcome.BROKEN, detail=f"fault: {type(exc).__name__}")

    def _may_ask_status(self, member: Member, wake: asyncio.Event) -> bool:
        """Whether a server's own counts are wanted again, and no look is."""
        if not self.timing.status_interval or wake.is_set() or self._is_moving() or self._clock() < self._burst_until:
            return False
        last = self.statuses.get(member.name)
        return last is None or self._clock() - last.taken_at >= self.timing.status_interval

    async def _ask_status(self, probe: Probe, member: Member) -> bool:
        """Ask a server what it counts; say whether its session still lives."""
        status = await probe.read_status(self.timing.status_timeout)
        if status is None:
            return True
        before = self.statuses.get(member.name)
        if status.detail and (before is None or before.detail != status.detail):
            log.warning("member %s: does not tell its own counts: %s", member.name, status.detail)
        if self._members.get(member.name) == member:
            self.statuses[member.name] = status
        return not status.detail

    async def _rest(self, wake: asyncio.Event, until: float) -> bool:
        """Wait for the time of the next look; say whether one is wanted before."""
        left = until - self._clock()
        if left <= 0:
            return False
        timer = asyncio.get_running_loop().call_later(left, wake.set)
        try:
            await wake.wait()
        finally:
            timer.cancel()
        return self._clock() < until

    def _nudge_next(self) -> None:
        """Have one member deliver its notices, and come back for the next; a timer costs half of what a task does."""
        loop = asyncio.get_running_loop()
        self._nudging = loop.call_later(self.timing.notice_interval, self._nudge_next)
        if self._clock() - self._asked_at < self.timing.notice_interval:
            return  # a look has members deliver their notices, too
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            probe = self._probes.get(self._turns[0])
            if probe is not None and probe.hears_notices:
                if not probe.nudge():
                    self._wakes[self._turns[0]].set()
                return

    def _next_look(self, taken_at: float) -> float:
        """When to look at a member again that answered what it was asked at `taken_at`."""
        timing = self.timing
        if self._clock() < self._burst_until:
            return taken_at + timing.burst_interval
        if self._is_moving():
            return taken_at + timing.unsettled_interval
        # All members on one beat: to wake up once costs less than to wake up for each. Timers may come a little early.
        until_beat = timing.poll - (taken_at - self._beat) % timing.poll
        return taken_at + until_beat + (timing.poll if until_beat < timing.poll / 2 else 0.0)

    def _is_moving(self) -> bool:
        """Whether a majority answers and no member may be written to, of late."""
        unsettled = self.topology.trust is Trust.QUORUM and not self.topology.primaries()
        return unsettled and self._clock() - self._changed_at < self.timing.unsettled_for

    def _backoff(self, failures: int) -> float:
        ceiling = min(self.timing.reconnect_ceiling, self.timing.unsettled_interval * 2.0 ** min(failures, 16))
        return ceiling * self._rng.uniform(0.5, 1.0)

    def _noticed(self, notice: Notice) -> None:
        if isinstance(notice, GroupReplicationStateChanged):
            log.debug("notice %r", notice)
            self.look_now()

    def _observed(self, seen: Observation) -> None:
        if self._members.get(seen.member.name) != seen.member:
            return
        before = self._observations.get(seen.member.name)
        if before is None or not before.outlasts(seen, now=self._clock(), max_age=self._policy.max_age):
            self._observations[seen.member.name] = seen
        told = seen.outcome, seen.detail
        if self._told.get(seen.member.name) != told:
            self._told[seen.member.name] = told
            level = logging.INFO if seen.report else logging.WARNING
            log.log(level, "probe of %s: %s %s", seen.member.name, seen.outcome.value, seen.detail)
        if self.on_observation is not None:
            self.on_observation(seen)
        # What says the same as before changes nothing but ages and measurements, judged in the rhythm of `run`.
        if before is None or _facts(before) != _facts(seen) or self._is_old(before):
            self._judge()

    def _is_old(self, seen: Observation) -> bool:
        return self._clock() - seen.taken_at > self._policy.max_age

    def _judge_again(self) -> None:
        """Judge where anything changed or became too old since; else the topology only gets younger."""
        if self._grounds() != self._judged:
            self._judge()
        elif self.topology.trust is not Trust.BLIND:
            reported = (seen.taken_at for seen in self._observations.values() if seen.report is not None)
            self.topology = replace(self.topology, taken_at=max(reported, default=self.topology.taken_at))

    def _grounds(self) -> list[tuple[object, bool]]:
        return [
            ((seen.outcome, seen.report), self._is_old(seen))
            if (seen := self._observations.get(name))
            else (None, True)
            for name in self._members
        ]

    def _judge(self) -> None:
        self._judged = self._grounds()
        old = self.topology
        new = diagnose(self._members.values(), self._observations, now=self._clock(), previous=old, policy=self._policy)
        self.topology = new
        if new.version == old.version:
            return
        self._changed_at = self._clock()
        for line in changes(old, new):
            log.info("topology v%d: %s", new.version, line)
        if _roles_move(old, new):
            self.look_now()
        for subscriber in self._subscribers:
            try:
                subscriber(old, new)
            except Exception:  # a fault in one of them must not keep the others from the new topology
                log.exception("topology v%d: a subscriber failed", new.version)


def _weights(members: Mapping[str, Member]) -> list[tuple[str, int, int]]:
    return sorted((member.name, member.priority, member.weight) for member in members.values())


def _facts(seen: Observation) -> tuple[object, ...]:
    return seen.outcome, seen.report.facts if seen.report else None


def _roles_move(old: Topology, new: Topology) -> bool:
    """Whether roles are moving: worth a burst even where no notice came."""
    before = {status.member.name for status in old.primaries()}
    after = {status.member.name for status in new.primaries()}
    rising = any(
        status.role is Role.PRIMARY and status.state is State.ONLINE and status.offered is None
        for status in new.members
    )
    return bool(before - after) or rising
