"""Which complaints about peers are worth a log line. Owns the ration; must not know the log or the packets."""

from __future__ import annotations

PEER_SILENCE = 60.0  # seconds; a peer that goes on and on is news once a minute
LINES_PER_WINDOW = 10  # lines from all peers together, so that forged sources cannot fill a disk
WINDOW = 10.0  # seconds
PEERS_REMEMBERED = 1024  # addresses; the oldest go first


class Ration:
    """Admits each peer's complaint once in a while, and a bounded number of all."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._window_from = float("-inf")
        self._lines = 0
        self.withheld = 0
        """Complaints that were not admitted since the last one that was."""

    def admits(self, peer: str, now: float) -> bool:
        """Whether to log a complaint about the peer at `now` (monotonic seconds)."""
        if now - self._window_from >= WINDOW:
            self._window_from, self._lines = now, 0
        last = self._last.get(peer)
        if self._lines >= LINES_PER_WINDOW or (last is not None and now - last < PEER_SILENCE):
            self.withheld += 1
            return False
        self._lines += 1
        self._last.pop(peer, None)
        self._last[peer] = now
        if len(self._last) > PEERS_REMEMBERED:
            del self._last[next(iter(self._last))]
        return True

    def take_withheld(self) -> int:
        """Return the count of complaints withheld so far, and start it anew."""
        count, self.withheld = self.withheld, 0
        return count
