"""What a member's records weigh, from how well it keeps up. Owns the grades and their damping; time is given.

Clients hold an answer for its TTL, and some sort by weight alone: weights that flap move whole herds. So there are few
grades, a better one is entered later than it was left, and each must hold for a while. Roles are never damped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from srv.zone import WEIGHT_LIMIT

WORSE_AFTER = 3.0  # seconds that it must be worse: six looks in a row, so no single slow one
BETTER_AFTER = 10.0  # seconds that it must be better: two of our TTLs, so that clients have seen the last change
RELIEF = 0.5  # share of a grade's measures below which it is left: what hovers about a measure stays where it is


@dataclass(frozen=True, slots=True)
class Strain:
    """How a member bears up; a measure is None where it is not known.

    lag: seconds behind its source. queued: transactions not yet applied. load: threads at work.
    """

    lag: float | None = None
    queued: int | None = None
    load: int | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """`weight` is a share in a hundred; any one measure reached puts a member here, one that is None never does."""

    weight: int
    lag: float | None = None
    queued: int | None = None
    load: int | None = None


# A second is what readers notice, ten what they complain of. A group throttles its writers at 25,000 queued
# (`group_replication_flow_control_applier_threshold`). Running threads beyond what machines have cores wait for each
# other; but they come in bursts, so that load alone never makes a member grave.
GRADES = (
    Grade(100),
    Grade(50, lag=1.0, queued=1_000, load=64),
    Grade(25, lag=4.0, queued=5_000, load=128),
    Grade(10, lag=10.0, queued=25_000),
)
GRAVE = len(GRADES) - 1  # entered at once
LEAST = 1  # never 0, which RFC 2782 has for targets that are hardly ever used


@dataclass(frozen=True, slots=True)
class Weighing:
    """A member's grade, and since when (monotonic seconds) it leans to a worse (1) or better one (-1)."""

    grade: int = 0
    leaning: int = 0
    since: float = 0.0

    @property
    def share(self) -> int:
        """Of the weight that it has when all is well, in a hundred."""
        return GRADES[self.grade].weight


def weigh(before: Weighing | None, strain: Strain, *, now: float) -> Weighing:
    """Grade a member anew.

    A grave strain counts at once, anything else one grade at a time and only after it has held. A member that is new is
    graded as it stands, since nobody has its weight yet.
    """
    if before is None:
        return Weighing(_reached(strain, 1.0), 0, now)
    reached = _reached(strain, 1.0)
    if reached == GRAVE:
        return Weighing(GRAVE, 0, now)
    wanted = reached if reached > before.grade else min(before.grade, _reached(strain, RELIEF))
    leaning = (wanted > before.grade) - (wanted < before.grade)
    if leaning != before.leaning:
        return replace(before, leaning=leaning, since=now)
    if leaning == 0 or now - before.since < (WORSE_AFTER if leaning > 0 else BETTER_AFTER):
        return before
    return Weighing(before.grade + leaning, 0, now)


def scaled(weight: int, weighing: Weighing | None) -> int:
    """The weight to publish of a member that is offered, from the one it has when all is well."""
    return min(WEIGHT_LIMIT, max(LEAST, weight * (weighing.share if weighing else 100) // 100))


def _reached(strain: Strain, share: float) -> int:
    """The worst grade of which one measure, times the share, is reached."""
    return max(number for number, grade in enumerate(GRADES) if number == 0 or _reaches(strain, grade, share))


def _reaches(strain: Strain, grade: Grade, share: float) -> bool:
    measures = ((strain.lag, grade.lag), (strain.queued, grade.queued), (strain.load, grade.load))
    return any(has is not None and limit is not None and has >= limit * share for has, limit in measures)
