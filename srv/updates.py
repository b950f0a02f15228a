"""Keeps clusters' records on another name server, by updates signed with TSIG (RFC 2136, RFC 8945).

Owns when each cluster is looked at, tried again and given up, and the log of it. Must not know messages, nor what is
to be changed: each time the server is asked what stands there, and what differs is sent. So it does not matter who
else changed it, or that the server was restored from an old copy. Serial and NOTIFY are the server's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Never

from srv.conversation import converse
from srv.publisher import PublishError
from srv.setbacks import Setback
from srv.signed import SigningKey
from srv.update_outcomes import Outcome, UpdateError, explain
from srv.update_plan import (
    ADDRESS_KINDS,
    batches,
    emptied,
    places_of,
    plan,
    targets_in,
    told,
)
from srv.update_settings import UpdateSettings, read_secret
from srv.wire import MESSAGE_LIMIT
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

CONVERSATIONS = 8  # at a time; PowerDNS takes 20 connections from everybody together
UPDATE_LIMIT = MESSAGE_LIMIT - 1024  # octets for changes; header, zone and signature take some hundreds
# seconds from one look to the next after an update whose answer was lost: a frozen server may make it late, over a
# newer one
EARLY_LOOKS = (1.0, 3.0, 10.0)
DISPUTE = 3  # looks in a row that find our own work undone; a hand at the server does that once or twice
SPREAD = (0.8, 1.2)  # of the time between looks, so that clusters do not come in step


@dataclass(slots=True, eq=False)
class _Cluster:
    """One cluster's records on the server. Times are monotonic seconds.

    `behind_since`: since when the server may not have them. `former`: targets that were ours, whose addresses may
    still stand there. `early`: the waits of `EARLY_LOOKS` that are left. `repairs`: looks in a row that found our own
    work undone.
    """

    zone: Zone
    setback: Setback
    due: float
    behind_since: float | None
    leaving: bool = False
    former: frozenset[str] = frozenset()
    early: tuple[float, ...] = ()
    is_busy: bool = False
    repairs: int = 0


@dataclass(slots=True)
class _Try:
    """How far one try has come. `began` is monotonic seconds; `sent`: an update is on its way, or was.

    `found`: what stood in place of what is wanted, for the log.
    """

    began: float
    sets: int = 0
    sent: bool = False
    found: str = ""


class UpdatePublisher:
    """Publishes by updating another name server. One updater a zone is wanted.

    Several that want the same do no harm; those that do not would undo each other's work for ever. Whoever finds its
    own undone `DISPUTE` times in a row says so, with what the other one writes, and looks seldom from then on.

    Args:
        settings: which server, zone and key.
        clock: monotonic seconds.
        rng: draws the jitter.
    """

    def __init__(
        self,
        settings: UpdateSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Tries by outcome, as `Outcome` has them; `repaired` are looks that found what was left there changed."""
        self._settings = settings
        self._clock = clock
        self._rng = rng if rng is not None else random.Random()
        self._key: SigningKey | None = None
        self._clusters: dict[str, _Cluster] = {}
        self._trouble = self._new_setback()  # with the server as a whole
        self._hint = asyncio.Event()

    def __str__(self) -> str:
        return f"updates of {self._settings.server_text}"

    @property
    def behind_since(self) -> float | None:
        """Since when the server may not have all that is wanted, in monotonic seconds; None where it has."""
        since = [self._trouble.since, *(cluster.behind_since for cluster in self._clusters.values())]
        return min((when for when in since if when is not None), default=None)

    def publish(self, zone: Zone) -> None:
        """Have the zone's records stand on the server, without SOA, NS and `ns`; a newer one takes its place."""
        if not self._settings.holds(zone.origin):
            self.counts[Outcome.NOTZONE.value] += 1
            reason = explain(UpdateError(Outcome.NOTZONE), self._settings)
            log.error(
                "update-impossible domain=%s server=%s reason=%r", zone.origin, self._settings.server_text, reason
            )
            return
        self._want(zone, leaving=False)

    def withdraw(self, origin: str) -> None:
        """Have the cluster's names stand there no more."""
        if self._settings.holds(origin):
            self._want(emptied(origin), leaving=True)

    async def start(self) -> None:
        """Read the key. The server need not be there yet.

        Raises:
            PublishError: its file has none.
        """
        try:
            self._key = self._read_key()
        except ValueError as exc:
            raise PublishError(f"cannot update {self._settings.server_text}: {exc}") from exc

    async def run(self) -> Never:
        """Keep the records until cancelled; `start` has been called."""
        settings = self._settings
        log.info("updating server=%s zone=%s key=%s", settings.server_text, settings.zone, settings.key_name)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._hint.clear()
                for cluster in self._ready():
                    cluster.is_busy = True
                    tasks.create_task(self._attend(cluster), name=f"update of {cluster.zone.origin}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait()):
                        await self._hint.wait()

    async def close(self) -> None:
        """Nothing is held; the records stay."""

    def _want(self, zone: Zone, *, leaving: bool) -> None:
        now = self._clock()
        cluster = self._clusters.get(zone.origin)
        if cluster is None:
            cluster = self._clusters[zone.origin] = _Cluster(zone, self._new_setback(), now, now)
        cluster.former |= _targets(cluster.zone)
        cluster.zone, cluster.leaving, cluster.due = zone, leaving, now
        cluster.behind_since = now if cluster.behind_since is None else cluster.behind_since
        self._hint.set()

    def _new_setback(self) -> Setback:
        return Setback(self._settings.retry_first, self._settings.retry_limit, self._rng)

    def _read_key(self) -> SigningKey:
        return SigningKey(self._settings.key_name, self._settings.algorithm, read_secret(self._settings.secret_file))

    def _room(self) -> int:
        """How many more may be attended to: of a server that is in trouble, one to see whether it still is."""
        return (1 if self._trouble.failures else CONVERSATIONS) - sum(one.is_busy for one in self._clusters.values())

    def _ready(self) -> list[_Cluster]:
        now = self._clock()
        if now < self._trouble.due:
            return []
        ready = [one for one in self._clusters.values() if not one.is_busy and one.due <= now]
        # In trouble all take turns: one whose look fails must not have those wait that are fine.
        ready.sort(key=lambda one: (one.behind_since is None and not self._trouble.failures, one.due))
        return ready[: max(self._room(), 0)]

    def _wait(self) -> float | None:
        """Seconds until one is ready, if no hint comes before; None where only a hint will tell."""
        idle = [one.due for one in self._clusters.values() if not one.is_busy]
        if not idle or self._room() <= 0:
            return None
        return max(min(idle), self._trouble.due) - self._clock()

    async def _attend(self, cluster: _Cluster) -> None:
        zone, attempt = cluster.zone, _Try(self._clock())
        try:
            await self._bring_into_step(cluster, zone, attempt)
        except UpdateError as error:
            self._note_failure(cluster, zone, attempt, error)
        else:
            self._note_success(cluster, zone, attempt)
        finally:
            cluster.is_busy = False
            self._hint.set()

    async def _bring_into_step(self, cluster: _Cluster, zone: Zone, attempt: _Try) -> None:
        """Look, and send what differs.

        Raises:
            UpdateError: it did not come to that.
        """
        settings = self._settings
        assert self._key is not None  # noqa: S101 - start() has been called
        async with converse(settings.server, self._key, settings.timeout) as talk:
            places = places_of(zone, cluster.former)
            standing = await talk.look(places)
            named = targets_in(standing.values(), zone.origin)
            standing |= await talk.look({(name, kind) for name in named for kind in ADDRESS_KINDS} - set(places))
            cluster.former |= named
            changes = plan(zone, standing, cluster.former)
            attempt.found = told(changes, standing)
            for batch in batches(changes, UPDATE_LIMIT):
                attempt.sent = True
                await talk.update(settings.zone, batch)
                attempt.sets += len(batch)

    def _note_success(self, cluster: _Cluster, zone: Zone, attempt: _Try) -> None:
        now, origin, server, sets = self._clock(), zone.origin, self._settings.server_text, attempt.sets
        self.counts[(Outcome.APPLIED if sets else Outcome.UNCHANGED).value] += 1
        is_repair = sets > 0 and cluster.behind_since is None
        self._end_trouble(now)
        if cluster.setback.since is not None:
            took = now - cluster.setback.since
            log.info("update-recovered domain=%s server=%s after=%.1fs", origin, server, took)
        cluster.setback.end()
        if is_repair:
            self.counts["repaired"] += 1
            cluster.repairs += 1
            if cluster.repairs == 1:
                log.warning("update-repaired domain=%s server=%s sets=%d reason=changed-there", origin, server, sets)
            elif cluster.repairs == DISPUTE:
                reason = "something else updates these names to its own mind: have one updater a zone"
                log.error(
                    "update-disputed domain=%s server=%s there=%r reason=%r", origin, server, attempt.found, reason
                )
        elif sets:
            log.info("updated domain=%s server=%s sets=%d", origin, server, sets)
        else:
            cluster.repairs = 0
        if cluster.zone is not zone:
            return  # a newer one came meanwhile, and is due
        cluster.behind_since = None
        if cluster.early:
            cluster.due, cluster.early = now + cluster.early[0], cluster.early[1:]
        elif cluster.leaving:
            del self._clusters[origin]
        else:
            cluster.former = frozenset()
            cluster.due = now + self._check_interval(cluster) * self._rng.uniform(*SPREAD)

    def _check_interval(self, cluster: _Cluster) -> float:
        calm = self._settings.check_interval
        return max(calm, self._settings.retry_limit) if cluster.repairs >= DISPUTE else calm

    def _note_failure(self, cluster: _Cluster, zone: Zone, attempt: _Try, error: UpdateError) -> None:
        now, server = self._clock(), self._settings.server_text
        self.counts[error.outcome.value] += 1
        cluster.behind_since = now if cluster.behind_since is None else cluster.behind_since
        if attempt.sent and error.outcome.is_unsure:
            cluster.early = EARLY_LOOKS
        reason = explain(error, self._settings)
        if error.outcome.is_servers:
            if self._trouble.add(error.outcome, began=attempt.began, now=now):
                log.warning("update-failing server=%s outcome=%s reason=%r", server, error.outcome.value, reason)
            with contextlib.suppress(ValueError):  # it may be written anew just now; the old one is as good as none
                self._key = self._read_key()
            if cluster.zone is zone:
                cluster.due = now  # behind the others
            return
        self._end_trouble(now)
        if cluster.setback.add((error.outcome, error.detail), began=attempt.began, now=now):
            log.warning(
                "update-failing domain=%s server=%s outcome=%s reason=%r",
                cluster.zone.origin,
                server,
                error.outcome.value,
                reason,
            )
        if cluster.zone is zone:  # else a newer one came meanwhile, and is due
            cluster.due = cluster.setback.due

    def _end_trouble(self, now: float) -> None:
        if self._trouble.since is not None:
            took = now - self._trouble.since
            log.info("update-recovered server=%s after=%.1fs", self._settings.server_text, took)
        self._trouble.end()


def _targets(zone: Zone) -> frozenset[str]:
    return frozenset(name for name, kind in places_of(zone) if kind in ADDRESS_KINDS)
