"""What became of each test of a run, and whether two runs tell the same story. Pure: knows no process and no server.

A run straight to the server is made twice: where these two differ a test is unstable by itself, and says nothing of a
router. All others must come out the same through the router, to the kind of exception and MySQL's number of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

#: By the full name of a test; "absent" stands for one that a run does not have.
Outcomes = Mapping[str, str]
ABSENT = "absent"
PASSED = "passed"
# Where a test did not pass, pytest names these elements so.
KINDS = {"failure": "failed", "error": "error", "skipped": "skipped"}
# `sqlalchemy.exc.OperationalError: (pymysql.err.OperationalError) (2013, 'Lost connection …`
EXCEPTION = re.compile(r"^(?:failed on \w+ with \")?([A-Za-z_][\w.]*)")
NUMBER = re.compile(r"\((\d{4}), ")


@dataclass(frozen=True, slots=True)
class Difference:
    """One test that came out otherwise through the router. `direct` has what came of it in each run without."""

    test: str
    direct: tuple[str, ...]
    routed: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the runs of one suite have shown.

    Attributes:
        counts: tests by their outcome's first word, through the router.
        differences: where the router made one.
        unstable: tests whose outcome differed without it.
    """

    counts: Mapping[str, int]
    differences: tuple[Difference, ...]
    unstable: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether anything passed at all, and nothing came out otherwise."""
        return not self.differences and self.counts.get(PASSED, 0) > 0


def read_junit(text: str) -> Outcomes:
    """Return the outcome of each test in a report of pytest's (JUnit XML).

    Raises:
        ValueError: it is not such a report.
    """
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - written by a process of ours
    except ElementTree.ParseError as exc:
        raise ValueError(f"not a JUnit report: {exc}") from exc
    found: dict[str, str] = {}
    for case in root.iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome = _outcome(case)
        # A test that fails and then fails to clean up is there twice.
        found[name] = f"{found[name]}, {outcome}" if name in found else outcome
    return found


def compare(direct: tuple[Outcomes, ...], routed: Outcomes) -> Comparison:
    """Set a run through the router beside those without."""
    differences, unstable = [], []
    for test in sorted({*routed, *(test for one in direct for test in one)}):
        expected = tuple(one.get(test, ABSENT) for one in direct)
        if len(set(expected)) > 1:
            unstable.append(test)
        if routed.get(test, ABSENT) not in expected:
            differences.append(Difference(test, expected, routed.get(test, ABSENT)))
    counts = Counter(outcome.partition(" ")[0].rstrip(",") for outcome in routed.values())
    return Comparison(dict(counts), tuple(differences), tuple(unstable))


def render(name: str, comparison: Comparison) -> str:
    """A comparison in lines for people."""
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(comparison.counts.items()))
    lines = [f"{name}: {sum(comparison.counts.values())} tests through the router: {counts}"]
    lines += [f"  unstable without the router: {test}" for test in comparison.unstable]
    lines += [f"  DIFFERS {one.test}: {' / '.join(one.direct)} -> {one.routed}" for one in comparison.differences]
    lines.append("  the same as direct" if comparison.same else "  NOT the same as direct")
    return "\n".join(lines)


def _outcome(case: ElementTree.Element) -> str:
    for element in case:
        if element.tag in KINDS:
            message = element.get("message") or ""
            if element.tag == "skipped":
                # Without the reason: where there are several, SQLAlchemy gives any one of them.
                return "xfailed" if element.get("type") == "pytest.xfail" else "skipped"
            exception, number = EXCEPTION.match(message), NUMBER.search(message)
            words = [KINDS[element.tag], exception[1] if exception else "", number[1] if number else ""]
            return " ".join(word for word in words if word)
    return PASSED
