"""What is done with a packet, whichever way it came: it is answered, counted, and complained of where that is due.

Owns the zones, the counts and the log of peers. Must not know sockets.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable

from srv.answers import Reaction, react
from srv.complaints import Ration
from srv.records import Rcode
from srv.replies import question_of, write_bare_reply
from srv.wire import read_header
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

Address = tuple[str, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_COUNTS = {
    (rcode, over_tcp): f"{'tcp' if over_tcp else 'udp'} {rcode.name if rcode is not None else 'dropped'}"
    for rcode in (*Rcode, None)
    for over_tcp in (False, True)
}


class Desk:
    """Answers packets from the zones.

    Args:
        zones: those to begin with.
        transfer_to: the networks of those who may have whole zones.
        rng: draws the order of members in answers.
    """

    def __init__(self, zones: Iterable[Zone], transfer_to: Iterable[str], rng: random.Random | None = None) -> None:
        self.zones: dict[str, Zone] = {zone.origin: zone for zone in zones}
        """What is answered from, by origin."""
        self.counts: Counter[str] = Counter()
        self._secondaries: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in transfer_to)
        self._rng = rng or random.Random()
        self._ration = Ration()

    def answer(self, wire: bytes, peer: Address, *, over_tcp: bool) -> Reaction:
        """What to say to a packet."""
        try:
            reaction = react(self.zones, wire, over_tcp=over_tcp, may_transfer=self.is_secondary(peer), rng=self._rng)
        except Exception as exc:  # our own fault, which must cost this question and no other
            self._complain("cannot-answer", peer, repr(exc))
            reaction = Reaction(write_bare_reply(read_header(wire), Rcode.SERVFAIL, question_of(wire)), Rcode.SERVFAIL)
        self.counts[_COUNTS[reaction.rcode, over_tcp]] += 1
        if reaction.complaint:
            self._complain("bad-packet", peer, reaction.complaint)
        return reaction

    def is_secondary(self, peer: Address) -> bool:
        """Whether whole zones are for this peer."""
        if not self._secondaries:
            return False
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        return any(address in network for network in self._secondaries)

    def _complain(self, event: str, peer: Address, reason: str) -> None:
        """Log what went wrong, unless something of that peer was logged a moment ago."""
        if self._ration.admits(peer[0], time.monotonic()):
            withheld = self._ration.take_withheld()
            log.warning("%s peer=%s port=%d reason=%r withheld=%d", event, peer[0], peer[1], reason, withheld)
