"""What is done with a packet, whichever way it came: it is answered, counted, and complained of where that is due.

Owns the counts and the log of peers. Must not know sockets.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Iterable

from srv.answers import Reaction, react
from srv.complaints import Ration
from srv.records import Rcode
from srv.shelf import Shelf
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

Address = tuple[str, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UDP = {int(rcode): f"udp {rcode.name}" for rcode in Rcode}
_RCODES = {int(rcode): rcode for rcode in Rcode}


class Desk:
    """Answers packets from the zones.

    Args:
        zones: those to begin with.
        transfer_to: the networks of those who may have whole zones.
    """

    def __init__(self, zones: Iterable[Zone], transfer_to: Iterable[str]) -> None:
        self.shelf = Shelf(zones)
        self.counts: Counter[str] = Counter()
        self._secondaries: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in transfer_to)
        self._ration = Ration()

    def answer_at_once(self, wire: bytes) -> bytes | None:
        """The datagram to send back to an ordinary question; nothing where it takes a longer look."""
        ready = self.shelf.take(wire)
        if ready is None:
            return None
        self.counts[_UDP[ready[1]]] += 1
        return wire[:2] + ready[0]

    def answer_datagram(self, wire: bytes, peer: Address) -> bytes | None:
        """The datagram to send back after a longer look, if any."""
        return self._react(wire, peer, over_tcp=False).reply

    def answer_message(self, wire: bytes, peer: Address) -> Reaction:
        """What to say to a message over TCP."""
        ready = self.shelf.compose(wire, over_tcp=True)
        if ready is None:
            return self._react(wire, peer, over_tcp=True)
        rcode = _RCODES[ready[1]]
        self.counts[f"tcp {rcode.name}"] += 1
        return Reaction(wire[:2] + ready[0], rcode)

    def is_secondary(self, peer: Address) -> bool:
        """Whether whole zones are for this peer."""
        if not self._secondaries:
            return False
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        return any(address in network for network in self._secondaries)

    def complain(self, peer: Address, reason: str) -> None:
        """Log what a peer did wrong, unless it was logged a moment ago."""
        if self._ration.admits(peer[0], time.monotonic()):
            withheld = self._ration.take_withheld()
            log.warning("bad-packet peer=%s port=%d reason=%r withheld=%d", peer[0], peer[1], reason, withheld)

    def _react(self, wire: bytes, peer: Address, *, over_tcp: bool) -> Reaction:
        allowed = self.is_secondary(peer)
        reaction = react(self.shelf.zones, wire, over_tcp=over_tcp, may_transfer=allowed)
        outcome = reaction.rcode.name if reaction.rcode is not None else "dropped"
        self.counts[f"{'tcp' if over_tcp else 'udp'} {outcome}"] += 1
        if reaction.complaint:
            self.complain(peer, reaction.complaint)
        return reaction
