"""Looks up SRV names: the search list, several name servers in turn, aliases, then the targets' addresses.

Owns the order of questions. Must not know sockets (`exchange`), nor when to look again (`following`).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from srv.exchange import Address, NoReplyError, exchange
from srv.lookup import (
    ALIAS_LIMIT,
    TOO_MANY_ALIASES,
    Answer,
    Finding,
    Lookup,
    Outcome,
    Target,
    addresses_given,
    addresses_in,
    find,
    is_unavailable,
)
from srv.names import ROOT, canonical
from srv.records import Kind, SrvRecord
from srv.resolvconf import ResolvConf, read_resolv_conf
from srv.wire import MalformedError, Query, Question, Reply

__all__ = ["Answer", "Lookup", "Outcome", "Resolver", "Target"]

TIMEOUT = 1.0  # seconds a try; a name server that is near answers in milliseconds, and there may be another
ATTEMPTS = 2  # rounds over all name servers: one lost datagram must not look like an outage
AT_ONCE = 16  # address questions under way; nine members have eighteen
TARGETS = 64  # that are made use of; a group has nine members, and each target may cost two questions
ADDRESSES_TIMEOUT = 5.0  # seconds for all the targets' addresses: those that are known must not wait for the others
# Seconds for which a name server that gave no answer is asked after the others: a frozen one must not cost each of a
# look's questions a timeout.
SILENCE_REMEMBERED = 10.0


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
    """Asks name servers. Keeps its settings and who was silent lately, so one serves any number of names at once.

    Args:
        nameservers: IP addresses and ports, in the order to ask them; names are then asked for as they stand. None
            follows /etc/resolv.conf, its search list included, and reads it anew for each look.
        timeout: seconds for one question to one name server; None: what resolv.conf says, else `TIMEOUT`.
        attempts: rounds over all name servers; None: what resolv.conf says, else `ATTEMPTS`.
        rng: draws question numbers; by default the system's unguessable source.
    """

    def __init__(
        self,
        nameservers: Sequence[Address] | None = None,
        *,
        timeout: float | None = None,
        attempts: int | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if nameservers is not None and not nameservers:
            raise ValueError("no name server is given; name one, or leave them to /etc/resolv.conf")
        if (timeout is not None and timeout <= 0) or (attempts is not None and attempts < 1):
            raise ValueError(f"timeout {timeout} s and {attempts} attempts: both must be above zero")
        self._given = ResolvConf(tuple(nameservers)) if nameservers is not None else None
        self._timeout = timeout
        self._attempts = attempts
        self._rng = rng if rng is not None else random.SystemRandom()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._silent_until: dict[Address, float] = {}
        self._turns = itertools.count()

    async def srv(self, name: str) -> Lookup:
        """Look a name up; no service is prepended.

        Args:
            name: a name with a final dot stands for itself whatever search list there is.

        Returns:
            The outcome, whatever DNS does. An ANSWER may have targets without addresses; `detail` says why.

        Raises:
            ValueError: the text cannot be a name.
        """
        asked = canonical(name)
        conf = self._given if self._given is not None else read_resolv_conf()
        whole, heard = await self._search(conf.candidates(name), conf)
        finding = heard.finding
        found_at = finding.owner if finding.owner and finding.owner != asked else ""
        if finding.outcome is not Outcome.ANSWER or heard.reply is None:
            detail = f"{whole}: {heard.detail}" if heard.detail and whole != asked else heard.detail
            return Lookup(asked, finding.outcome, None, detail, finding.ttl)
        records = [record for record in finding.records if isinstance(record, SrvRecord)]
        if is_unavailable(records):
            return Lookup(asked, Outcome.UNAVAILABLE, None, 'the target is "."', finding.ttl, found_at=found_at)
        records = sorted(record for record in records if record.target != ROOT)
        troubles: list[str] = []
        if len(records) > TARGETS:
            troubles.append(f"{len(records)} targets, of which only the first {TARGETS} by priority are taken")
            records = records[:TARGETS]
        known: dict[str, tuple[tuple[str, ...], int | None]] = dict(addresses_given(heard.reply))
        located = await self._locate(sorted({record.target for record in records} - known.keys()), conf)
        known |= {target: (found.addresses, found.ttl) for target, found in located.items()}
        without = {target: found for target, found in located.items() if not found.addresses}
        troubles.extend(f"no address for {target}: {found.trouble}" for target, found in without.items())
        targets = [
            Target(record.target, record.port, record.priority, record.weight, known[record.target][0])
            for record in records
        ]
        # One clock for all: where an address is good for less than its SRV record, the whole is asked for again, at
        # most once in a floor (`freshness`). That is a few questions more and no second state.
        ttls = [finding.ttl, *(known[record.target][1] for record in records)]
        ttl = min(ttl for ttl in ttls if ttl is not None)
        nowhere = frozenset(target for target, found in without.items() if found.is_decided)
        answer = Answer(tuple(sorted(targets)), ttl)
        return Lookup(asked, Outcome.ANSWER, answer, "; ".join(troubles), nowhere=nowhere, found_at=found_at)

    async def _search(self, names: Sequence[str], conf: ResolvConf) -> tuple[str, _Heard]:
        """Ask for one name after the other until one is found, and return it with what was heard.

        Where one cannot be told of, the search ends: what stands under the next suffix may be another cluster.
        """
        negative: list[tuple[str, _Heard]] = []
        for name in names:
            heard = await self._ask(name, Kind.SRV, conf)
            if heard.finding.outcome not in (Outcome.EMPTY, Outcome.NXDOMAIN):
                return name, heard
            negative.append((name, heard))
        # A name that exists says more than one that does not (as res_search(3) has it: NO_DATA).
        name, heard = min(negative, key=lambda each: each[1].finding.outcome is not Outcome.EMPTY)
        ttls = [each.finding.ttl for _, each in negative if each.finding.ttl is not None]
        return name, replace(heard, finding=replace(heard.finding, ttl=min(ttls, default=None)))

    async def _locate(self, targets: Sequence[str], conf: ResolvConf) -> dict[str, _Located]:
        deadline = asyncio.get_running_loop().time() + ADDRESSES_TIMEOUT
        async with asyncio.TaskGroup() as group:
            tasks = {
                target: group.create_task(self._addresses(target, deadline, conf), name=f"addresses of {target}")
                for target in targets
            }
        return {target: task.result() for target, task in tasks.items()}

    async def _addresses(self, target: str, deadline: float, conf: ResolvConf) -> _Located:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(self._ask_until(deadline, target, kind, conf), name=f"{kind.name} {target}")
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

    async def _ask_until(self, deadline: float, name: str, kind: Kind, conf: ResolvConf) -> _Heard:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask(name, kind, conf)
        except TimeoutError:
            return _Heard(Finding(Outcome.TIMEOUT), None, f"not found within {ADDRESSES_TIMEOUT:g} s")

    async def _ask(self, name: str, kind: Kind, conf: ResolvConf) -> _Heard:
        """Ask for a name, and for what its aliases lead to where the response with them does not tell."""
        owner, ttls, aliases = name, list[int](), 0
        while True:
            heard = await self._ask_as_it_stands(owner, kind, conf)
            finding = heard.finding
            aliases += finding.aliases
            if aliases > ALIAS_LIMIT:
                return _Heard(Finding(Outcome.SERVFAIL, detail=TOO_MANY_ALIASES), None, TOO_MANY_ALIASES)
            if not finding.leads_on:
                break
            owner = finding.owner
            ttls.append(finding.ttl or 0)
        if ttls and not finding.outcome.is_decided:
            return replace(heard, detail=f"an alias leads to {owner}: {heard.detail or finding.outcome.value}")
        if finding.ttl is None:
            return heard
        return replace(heard, finding=replace(finding, ttl=min([*ttls, finding.ttl])))

    async def _ask_as_it_stands(self, name: str, kind: Kind, conf: ResolvConf) -> _Heard:
        """Ask one name server after the other until one decides the question."""
        troubles: dict[Address, str] = {}
        last = Finding(Outcome.TIMEOUT)
        timeout, attempts = self._timeout or conf.timeout or TIMEOUT, self._attempts or conf.attempts or ATTEMPTS
        for _ in range(attempts):
            for nameserver in self._in_turn(conf):
                query = Query(self._rng.getrandbits(16), Question(name, int(kind)), recursion_desired=True)
                try:
                    async with self._at_once:
                        reply = await exchange(query, nameserver, timeout)
                    self._silent_until.pop(nameserver, None)
                    finding = find(reply, name, kind)
                except NoReplyError as exc:
                    self._silent_until[nameserver] = asyncio.get_running_loop().time() + SILENCE_REMEMBERED
                    finding = Finding(Outcome.TIMEOUT, detail=str(exc))
                except MalformedError as exc:
                    finding = Finding(Outcome.MALFORMED, detail=str(exc))
                else:
                    if finding.outcome.is_decided or finding.leads_on:
                        return _Heard(finding, reply, finding.detail)
                troubles[nameserver] = finding.detail or finding.outcome.value
                # What a server says of itself tells more than the silence of another.
                if finding.outcome is not Outcome.TIMEOUT or last.outcome is Outcome.TIMEOUT:
                    last = finding
        detail = "; ".join(f"{host} port {port}: {trouble}" for (host, port), trouble in troubles.items())
        return _Heard(last, None, detail)

    def _in_turn(self, conf: ResolvConf) -> list[Address]:
        """The name servers in the order to ask them now: those that were silent lately come last."""
        servers = list(conf.nameservers)
        if conf.rotate:
            first = next(self._turns) % len(servers)
            servers = servers[first:] + servers[:first]
        now = asyncio.get_running_loop().time()
        self._silent_until = {one: until for one, until in self._silent_until.items() if until > now and one in servers}
        return sorted(servers, key=self._silent_until.__contains__)
