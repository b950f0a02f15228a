"""Suites of other projects come out the same through the router as direct: short parts; `make transparency` has all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.sandbox.errors import SandboxError
from bench.transparency.outcomes import render
from bench.transparency.runs import Bench, compare_suite, standing
from bench.transparency.sources import ensure_source
from bench.transparency.suites import SUITES

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bench(possible: None) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name, standing(Path(name)) as one:
        yield one


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_the_same_outcome_test_by_test(bench: Bench, name: str, tmp_path: Path) -> None:
    suite = SUITES[name]
    try:
        ensure_source(suite.sdist)
    except SandboxError as exc:
        pytest.skip(str(exc))
    found = compare_suite(bench, suite, tmp_path / "runs", whole=False, progress=lambda text: None)
    assert found.same, render(name, found)
