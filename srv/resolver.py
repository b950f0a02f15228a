"""Looks up SRV names: several name servers in turn, then the targets' addresses.

Owns the order of questions. Must not know sockets (`exchange`), nor when to look again (`following`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from srv.exchange import Address, NoReplyError, exchange
from srv.lookup import Answer, Finding, Lookup, Outcome, Target, addresses_given, addresses_in, find, is_unavailable
from srv.names import ROOT, canonical
from srv.records import Kind, SrvRecord
from srv.resolvconf import read_nameservers
from srv.wire import MalformedError, Query, Question, Reply

__all__ = ["Answer", "Lookup", "Outcome", "Resolver", "Target"]

TIMEOUT = 1.0  # seconds a try; a name server that is near answers in milliseconds, and there may be another
ATTEMPTS = 2  # rounds over all name servers: one lost datagram must not look like an outage
AT_ONCE = 16  # address questions under way; nine members have eighteen
TARGETS = 64  # that are made use of; a group has nine members, and each target may cost two questions
ADDRESSES_TIMEOUT = 5.0  # seconds for all the targets' addresses: those that are known must not wait for the others


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the name servers together said: the response that settled it, or why there is none."""

    finding: Finding
    reply: Reply | None
    detail: str


@dataclass(frozen=True, slots=True)
class _Located:
    """A target's addresses, IPv4 first; for how many seconds that is good, where said; what is wrong without any.

    `is_decided`: nothing more could have been found.
    """

    addresses: tuple[str, ...]
    ttl: int | None
    trouble: str
    is_decided: bool


class Resolver:
    """Asks name servers. Keeps nothing but its settings, so one serves any number of names at once.

    Args:
        nameservers: IP addresses and ports, in the order to ask them; None reads /etc/resolv.conf for each question.
        timeout: seconds for one question to one name server.
        attempts: rounds over all name servers.
        rng: draws question numbers; by default the system's unguessable source.
    """

    def __init__(
        self,
        nameservers: Sequence[Address] | None = None,
        *,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        rng: random.Random | None = None,
    ) -> None:
        if nameservers is not None and not nameservers:
            raise ValueError("no name server is given; name one, or leave them to /etc/resolv.conf")
        if timeout <= 0 or attempts < 1:
            raise ValueError(f"timeout {timeout} s and {attempts} attempts: both must be above zero")
        self._nameservers = tuple(nameservers) if nameservers is not None else None
        self._timeout = timeout
        self._attempts = attempts
        self._rng = rng if rng is not None else random.SystemRandom()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def srv(self, name: str) -> Lookup:
        """Look a name up, as it stands: no search list, no service prepended.

        Returns:
            The outcome, whatever DNS does. An ANSWER may have targets without addresses; `detail` says why.

        Raises:
            ValueError: the text cannot be a name.
        """
        asked = canonical(name)
        heard = await self._ask(asked, Kind.SRV)
        finding = heard.finding
        if finding.outcome is not Outcome.ANSWER or heard.reply is None:
            return Lookup(asked, finding.outcome, None, heard.detail, finding.ttl)
        records = [record for record in finding.records if isinstance(record, SrvRecord)]
        if is_unavailable(records):
            return Lookup(asked, Outcome.UNAVAILABLE, None, 'the target is "."', finding.ttl)
        records = sorted(record for record in records if record.target != ROOT)
        troubles: list[str] = []
        if len(records) > TARGETS:
            troubles.append(f"{len(records)} targets, of which only the first {TARGETS} by priority are taken")
            records = records[:TARGETS]
        known: dict[str, tuple[tuple[str, ...], int | None]] = dict(addresses_given(heard.reply))
        missing = sorted({record.target for record in records} - known.keys())
        deadline = asyncio.get_running_loop().time() + ADDRESSES_TIMEOUT
        async with asyncio.TaskGroup() as group:
            tasks = {
                target: group.create_task(self._addresses(target, deadline), name=f"addresses of {target}")
                for target in missing
            }
        located = {target: task.result() for target, task in tasks.items()}
        known |= {target: (found.addresses, found.ttl) for target, found in located.items()}
        without = {target: found for target, found in located.items() if not found.addresses}
        troubles.extend(f"no address for {target}: {found.trouble}" for target, found in without.items())
        targets = [
            Target(record.target, record.port, record.priority, record.weight, known[record.target][0])
            for record in records
        ]
        ttls = [finding.ttl, *(known[record.target][1] for record in records)]
        ttl = min(ttl for ttl in ttls if ttl is not None)
        nowhere = frozenset(target for target, found in without.items() if found.is_decided)
        return Lookup(asked, Outcome.ANSWER, Answer(tuple(sorted(targets)), ttl), "; ".join(troubles), nowhere=nowhere)

    async def _addresses(self, target: str, deadline: float) -> _Located:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(self._ask_until(deadline, target, kind), name=f"{kind.name} {target}")
                for kind in (Kind.A, Kind.AAAA)
            ]
        heard = [task.result() for task in asking]
        addresses = tuple(text for each in heard for text in addresses_in(each.finding.records))
        undecided = [each for each in heard if not each.finding.outcome.is_decided]
        if undecided and not addresses:
            return _Located((), 0, undecided[0].detail, is_decided=False)
        # With addresses, only their own TTLs count: that there are no others may change without haste.
        ttls = [each.finding.ttl for each in heard if each.finding.records or not addresses]
        ttl = min((ttl for ttl in ttls if ttl is not None), default=None)
        return _Located(addresses, ttl, "" if addresses else heard[0].finding.outcome.value, is_decided=not undecided)

    async def _ask_until(self, deadline: float, name: str, kind: Kind) -> _Heard:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask(name, kind)
        except TimeoutError:
            return _Heard(Finding(Outcome.TIMEOUT), None, f"not found within {ADDRESSES_TIMEOUT:g} s")

    async def _ask(self, name: str, kind: Kind) -> _Heard:
        """Ask one name server after the other until one decides the question."""
        troubles: dict[Address, str] = {}
        last = Finding(Outcome.TIMEOUT)
        nameservers = self._nameservers if self._nameservers is not None else read_nameservers()
        for _ in range(self._attempts):
            for nameserver in nameservers:
                query = Query(self._rng.getrandbits(16), Question(name, int(kind)), recursion_desired=True)
                try:
                    async with self._at_once:
                        reply = await exchange(query, nameserver, self._timeout)
                    finding = find(reply, name, kind)
                except NoReplyError as exc:
                    finding = Finding(Outcome.TIMEOUT, detail=str(exc))
                except MalformedError as exc:
                    finding = Finding(Outcome.MALFORMED, detail=str(exc))
                else:
                    if finding.outcome.is_decided:
                        return _Heard(finding, reply, finding.detail)
                troubles[nameserver] = finding.detail or finding.outcome.value
                # What a server says of itself tells more than the silence of another.
                if finding.outcome is not Outcome.TIMEOUT or last.outcome is Outcome.TIMEOUT:
                    last = finding
        detail = "; ".join(f"{host} port {port}: {trouble}" for (host, port), trouble in troubles.items())
        return _Heard(last, None, detail)
