"""All worker processes: as many as are wanted, each told the same, each replaced when it dies.

Owns who serves, who only drains, and what those that are gone had counted. Must not know settings or watchers, nor what
the workers are told: that is `orders`'.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from router.counts import COLUMNS, Rows, SharedMemory
from router.hands import Hand, HandState, spawn
from router.messages import (
    Configure,
    DialFailure,
    Handshakes,
    Kill,
    Lacking,
    ListSessions,
    Message,
    Pulse,
    Retire,
    Serving,
)
from router.orders import Orders
from router.reports import RouteReport, SessionReport, WorkerReport, WorkerState, combine, past

log = logging.getLogger("fairlead.router")

PULSE = 1.0
"""Seconds between pulses: how much of a worker's counts is lost at most when it dies."""
ANSWER_TIMEOUT = 1.0
"""Seconds for workers to answer; one that is late is shown as it was before."""
HANG_LIMIT = 30.0
"""Seconds without an answer after which a worker hangs, and is killed: its sessions stand still anyway."""
SHORT_LIFE = 5.0
"""Seconds; a worker that dies sooner is not replaced at once but after a wait, doubled from FIRST_WAIT to LAST_WAIT."""
FIRST_WAIT, LAST_WAIT = 0.1, 5.0


class Crew:
    """The worker processes of one router.

    Args:
        memory: where sessions are counted.
        rows: which routes are counted where, of an earlier main process.
        on_dial_failure: told of a cluster's member, by names, that a worker could not connect to.
        on_death: told of a worker that died, by its number, and how many sessions went with it.
        first_serial: the number of the next worker.
        gone: what workers had counted that are gone already.
    """

    def __init__(
        self,
        memory: SharedMemory,
        rows: Mapping[str, int],
        on_dial_failure: Callable[[str, str], None],
        *,
        on_death: Callable[[int, int], None] = lambda _, __: None,
        first_serial: int = 1,
        gone: Iterable[RouteReport] = (),
    ) -> None:
        self.memory = memory
        self.rows = Rows(memory, rows)
        self.orders = Orders(self.tell)
        self.hands: dict[int, Hand] = {}  # by serial number, those that drain included
        self.gone = combine(gone)
        self.next_serial = first_serial
        self.died = 0  # workers that ended without having been asked to
        self.cut_at_end = 0  # sessions that ended workers had to cut
        self._on_dial_failure = on_dial_failure
        self._on_death = on_death
        self._wanted = 0
        self._numbers = itertools.count(1)
        self._superseded: frozenset[int] = frozenset()  # serve until others do in their place
        self._wait = 0.0
        self._starting: list[asyncio.TimerHandle] = []
        self._changed = asyncio.Event()
        self._pulse: asyncio.TimerHandle | None = None

    def configure(self, orders: Configure, sockets: Mapping[str, int]) -> None:
        """Have these routes served on these descriptors, by address, from now on."""
        self.orders.configure(orders, sockets)
        for hand in list(self.hands.values()):
            if hand.retired:
                hand.send(orders)  # it opens none, but its sessions of routes that are gone have to end, too
            else:
                self._brief(hand)

    def tell(self, message: Message) -> None:
        """Send a message to every worker, those that drain included."""
        for hand in list(self.hands.values()):
            hand.send(message)

    # Who there is.

    def man(self, wanted: int) -> None:
        """Have that many workers accept connections. Those that are too many drain without a deadline."""
        self._wanted = wanted
        while self._starting and len(self._present()) + len(self._starting) > wanted:
            self._starting.pop().cancel()
        for hand in self._present()[wanted:]:
            self.retire(hand, Retire(None, queued=False))
        for _ in range(wanted - len(self._present()) - len(self._starting)):
            self._start()
        if self._pulse is None:
            self._beat()

    def _present(self) -> list[Hand]:
        return [one for one in self.hands.values() if not one.retired and one.serial not in self._superseded]

    def adopt(self, states: Iterable[HandState]) -> None:
        """Take over workers of the main process before; they serve until `relieve`, and others are started besides."""
        for state in states:
            self.memory.use(state.column)
            self.hands[state.serial] = Hand(state, self._hear, self._ended)
        self._superseded = frozenset(self.hands)

    def relieve(self) -> None:
        """Let the workers that were taken over drain. They have no deadline: nobody's session ends for an upgrade."""
        for serial in self._superseded & self.hands.keys():
            # With the new configuration an address may be gone; what is queued there is then theirs.
            self.retire(self.hands[serial], Retire(None, queued=True))
        self._superseded = frozenset()

    def retire(self, hand: Hand, how: Retire) -> None:
        """Have one accept no more and end with its last session."""
        hand.retired = True
        hand.send(how)

    def retire_all(self, how: Retire) -> None:
        """Have all accept no more, and start none."""
        self._wanted = 0
        for timer in self._starting:
            timer.cancel()
        self._starting.clear()
        for hand in self.hands.values():
            self.retire(hand, how)

    @property
    def serves(self) -> bool:
        """Whether any worker accepts connections, those that were taken over included."""
        return any(hand.serving and not hand.retired for hand in self.hands.values())

    async def wait_serving(self) -> None:
        """Return when as many workers serve as are wanted, not counting those that were taken over."""
        while sum(hand.serving for hand in self._present()) < self._wanted:
            await self._changed.wait()

    async def wait_gone(self) -> None:
        """Return when no worker is left."""
        while self.hands:
            await self._changed.wait()

    def kill_all(self) -> None:
        """End all at once."""
        for hand in self.hands.values():
            hand.kill()

    def suspend(self) -> None:
        """Hear and say nothing, for the next main process to take over."""
        self.close()
        for hand in self.hands.values():
            hand.link.pause()

    def left(self) -> tuple[tuple[HandState, ...], tuple[RouteReport, ...]]:
        """What the next main process gets: the workers there are, and what those that are gone had counted."""
        alive = [hand for hand in self.hands.values() if hand.link.open]
        gone = list(self.gone.values())
        for hand in self.hands.values():
            if not hand.link.open:  # dead, but not buried yet, and nobody would after us
                hand.kill()
                self.memory.clear(hand.column)
                gone += map(past, hand.report.routes)
        return tuple(hand.state() for hand in alive), tuple(combine(gone).values())

    def resume(self) -> None:
        """Go on after all."""
        for hand in list(self.hands.values()):
            hand.link.resume()
        self._beat()
        self.man(self._wanted)

    def close(self) -> None:
        """Start none and ask none any more."""
        if self._pulse is not None:
            self._pulse.cancel()
        for timer in self._starting:
            timer.cancel()
        self._starting.clear()

    # What they say.

    async def refresh(self) -> None:
        """Have all say how things stand."""
        number = next(self._numbers)
        await self._ask_all(lambda: Pulse(number), number)

    def reports(self) -> list[WorkerReport]:
        """The workers there are, as they last said."""
        return [hand.report for hand in self.hands.values()]

    def routes(self) -> dict[str, RouteReport]:
        """What each route did and does, those included that did it and are gone."""
        return combine([*self.gone.values(), *(route for one in self.reports() for route in one.routes)])

    async def list_sessions(self, limit: int, route: str = "") -> list[SessionReport]:
        """Live sessions, of one route or of all, at most `limit` of each worker."""
        number = next(self._numbers)
        return list(itertools.chain(*await self._ask_all(lambda: ListSessions(number, limit, route), number)))

    async def kill_sessions(self, sessions: Sequence[int]) -> list[int]:
        """End sessions by number; return those that there were."""
        number = next(self._numbers)
        return list(itertools.chain(*await self._ask_all(lambda: Kill(number, tuple(sessions)), number)))

    async def _ask_all(self, make: Callable[[], Message], number: int) -> list[Any]:
        hands = list(self.hands.values())
        answers = await asyncio.gather(*(hand.ask(number, make(), ANSWER_TIMEOUT) for hand in hands))
        return [answer for answer in answers if isinstance(answer, tuple)]

    # Start and end of one.

    def _start(self) -> None:
        taken = {hand.column for hand in self.hands.values()}
        column = next((one for one in range(COLUMNS) if one not in taken), None)
        if column is None:
            oldest = next(iter(self.hands.values()))
            log.warning("worker %d: ended with its sessions, for there are %d already", oldest.serial, COLUMNS)
            oldest.kill()
            self._start_later(FIRST_WAIT)
            return
        serial, self.next_serial = self.next_serial, self.next_serial + 1
        self.memory.use(column)
        try:
            hand = spawn(serial, column, self.memory, self._hear, self._ended)
        except OSError as exc:
            log.error("worker %d: cannot be started: %s; it is tried again", serial, exc.strerror)
            self._start_later(LAST_WAIT)
            return
        self.hands[serial] = hand
        self._brief(hand)

    def _brief(self, hand: Hand) -> None:
        hand.sockets = self.orders.brief(hand.send, hand.sockets)

    def _start_later(self, wait: float) -> None:
        def start() -> None:
            self._starting.remove(timer)
            self._start()

        timer = asyncio.get_running_loop().call_later(wait, start)
        self._starting.append(timer)

    def _hear(self, hand: Hand, message: Message) -> None:
        match message:
            case Serving():
                log.info("worker %d: serves, pid %d", hand.serial, hand.pid)
                self._change()
            case Handshakes():
                self.orders.hear(message)
            case Lacking():
                hand.sockets -= set(message.addresses)  # the next beat sends them again
            case DialFailure():
                self._on_dial_failure(message.cluster, message.member)
            case _:
                log.debug("worker %d: said %s, which nobody here asked for", hand.serial, type(message).__name__)

    def _ended(self, hand: Hand, how: str) -> None:
        del self.hands[hand.serial]
        self.memory.clear(hand.column)
        self.gone = combine([*self.gone.values(), *map(past, hand.report.routes)])
        self.cut_at_end += hand.report.cut_at_end
        if hand.report.state is WorkerState.ENDED:
            log.info("worker %d: ended", hand.serial)
        else:
            words = "worker %d: died, pid %d, %s; %d sessions went with it"
            self.died += 1
            log.error(words, hand.serial, hand.pid, how, hand.report.sessions)
            self._on_death(hand.serial, hand.report.sessions)
        if len(self._present()) + len(self._starting) < self._wanted:
            early = time.monotonic() - hand.started_at < SHORT_LIFE
            self._wait = min(max(FIRST_WAIT, 2 * self._wait), LAST_WAIT) if early else 0.0
            self._start_later(self._wait)
        self._change()

    def _beat(self) -> None:
        self._pulse = asyncio.get_running_loop().call_later(PULSE, self._beat)
        own = {serial: _attached(hand.report) for serial, hand in self.hands.items()}
        total = sum(own.values(), Counter[str]())
        for hand in list(self.hands.values()):
            # Not by the clock: when we were stopped ourselves, nobody had anything to answer.
            hand.unanswered += 1
            if hand.unanswered > HANG_LIMIT / PULSE:
                log.error("worker %d: killed, for it has not answered for %g s", hand.serial, HANG_LIMIT)
                hand.kill()
            if not hand.retired and self.orders.addresses - hand.sockets:
                self._brief(hand)
            hand.send(Pulse(0, total - own[hand.serial]))

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _attached(report: WorkerReport) -> Counter[str]:
    """A worker's sessions by member, all routes together."""
    sessions = Counter[str]()
    for route in report.routes:
        sessions.update(route.attached)
    return sessions
