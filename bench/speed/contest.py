"""Runs the rounds of cases: each variant once in each round, in turned order, and what each took meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from bench.speed import proxies, sysbench, usage
from bench.speed.cases import NOISE, Case, Round, orders
from bench.speed.ground import Ground
from bench.speed.proxy import LOAD_CORE, Proxy

WARM_UP = 1  # seconds


def rounds_of(
    ground: Ground,
    cases: Sequence[Case],
    variants: Sequence[str],
    rounds: int,
    seconds: int,
    patience: float,
    progress: Callable[[str], None],
) -> Iterator[Round]:
    """Measure case by case; yields each round as it is done.

    The proxies run all the time, since one that has just begun is another one than one that has served for a while. One
    that is not asked takes nothing.

    Args:
        patience: seconds to wait, each time, until nobody else is at work on the machine.

    Raises:
        SandboxError: a proxy does not start, or a query fails.
    """
    with ExitStack() as stack:
        ways = {}
        for name in variants:
            progress(f"starting {name}")
            ways[name] = stack.enter_context(proxies.start(name, ground.directory / name, ground.upstream))
        for case in cases:
            progress(f"{case.name}: {rounds} rounds of {len(variants)} × {seconds} s")
            for name in variants:  # what is done for the first time is not measured
                sysbench.load(ground.load, case, ways[name].address, WARM_UP, LOAD_CORE)
            for number, order in enumerate(orders(variants, rounds)):
                for name in order:
                    usage.wait_quiet(NOISE, patience)
                    yield _measure(ground, case, ways[name], number, seconds)


def _measure(ground: Ground, case: Case, way: Proxy, number: int, seconds: int) -> Round:
    own = usage.family(way.pid)
    known = [*ground.servers, *own]
    busy, took, proxy = usage.busy_seconds(), usage.cpu_seconds(known), usage.cpu_seconds(own)
    load = sysbench.load(ground.load, case, way.address, seconds, LOAD_CORE)
    busy, took = usage.busy_seconds() - busy, usage.cpu_seconds(known) - took
    said = load.said
    return Round(
        case=case.name,
        variant=way.name,
        number=number,
        queries=said.queries,
        seconds=said.seconds,
        p50=said.p50,
        p95=said.p95,
        p99=said.p99,
        cpu=usage.cpu_seconds(own) - proxy,
        memory=usage.own_bytes(own),
        others=max(0.0, busy - took - load.cpu) / said.seconds,
    )
