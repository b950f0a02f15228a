"""Fuzzing with Hypothesis: how long, and bytes to begin from. Shared by the tests of every parser.

A target is a test like any other and short in every run. `FAIRLEAD_FUZZ_SECONDS=600 pytest -s -k fuzz` makes each run
for that long and print how many inputs it has tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FAIRLEAD_FUZZ_SECONDS") or 0)
# In every run: a second or two for a target.
EXAMPLES = 200
# Of a long run between two looks at the clock. A new round begins with new random numbers.
ROUND = 2000
# Seconds beyond the wanted ones: a round takes a while, and a failure is made smaller before it is shown.
PATIENCE = 300.0


def fuzz(*strategies: st.SearchStrategy[Any], examples: int = EXAMPLES) -> Callable[[Callable[..., None]], Any]:
    """Make a target of a function that raises for inputs which are not dealt with as they should be.

    Args:
        strategies: what its arguments are drawn from.
        examples: how many inputs a short run tries.
    """

    def make(check: Callable[..., None]) -> Any:
        tried = 0

        def counted(drawn: tuple[Any, ...]) -> None:
            nonlocal tried
            tried += 1
            check(*drawn)

        def go(number: int) -> None:
            lenient = settings(
                max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            lenient(given(st.tuples(*strategies))(counted))()

        def target() -> None:
            until = time.monotonic() + SECONDS
            go(examples)
            while time.monotonic() < until:
                go(ROUND)
            if SECONDS:
                print(f"{check.__name__}: {tried} inputs in {SECONDS:g} s")

        target.__name__, target.__doc__ = check.__name__, check.__doc__
        return pytest.mark.timeout(SECONDS + PATIENCE)(target)

    return make


@st.composite
def changed(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Something valid with a few bytes changed, left out, put in or told twice."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[int]:
    """Where a stream of `size` bytes is cut into pieces: nowhere, after every byte, or anywhere."""
    if draw(st.booleans()):
        return [0, *range(1, size)] if draw(st.booleans()) else [0]
    return [0, *sorted(draw(st.lists(st.integers(1, max(1, size)), max_size=20, unique=True)))]


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    """The stream, cut there."""
    return [data[begin:end] for begin, end in zip(at, [*at[1:], len(data)], strict=True)]
