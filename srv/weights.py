"""What a replica's records weigh, from how well it keeps up. Owns the grades and their damping; time is given.

Clients hold an answer for its TTL, and some sort by weight alone: weights that flap move whole herds, and a weight that
follows load is a loop, for a herd is load. So there are few grades, a better one is entered later than it was left, and
each must hold for a while. Load counts only beside that of other replicas, slowly, and for one step. A primary has its
weight whatever it bears: nobody else takes its work. Roles are never damped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from srv.zone import WEIGHT_LIMIT

RELIEF = 0.5  # share of a grade's measures below which it is left: what hovers about a measure stays where it is
LOAD = 32  # threads at work below which nobody is loaded, whatever others do: what one machine's cores do at once
LOAD_RATIO = 3.0  # times the median of the other replicas: such a difference is no chance of the draw
LOADED = 50  # share in a hundred of a member that is loaded


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for which a member must be worse, or better, before its grade changes."""

    worse: float
    better: float


LAG_PATIENCE = Patience(worse=3.0, better=10.0)  # six looks in a row; two of our TTLs, so that clients saw the last
LOAD_PATIENCE = Patience(worse=30.0, better=60.0)  # sessions last; what a change moves must have moved before the next


@dataclass(frozen=True, slots=True)
class Strain:
    """How a replica bears up; a measure is None where it is not known.

    lag: seconds behind its source. queued: transactions not yet applied. load: threads at work. others: the median of
    the other replicas' load; None where there are none.
    """

    lag: float | None = None
    queued: int | None = None
    load: int | None = None
    others: float | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """`weight` is a share in a hundred; any one measure reached puts a member here, one that is None never does."""

    weight: int
    lag: float | None = None
    queued: int | None = None


# A second is what readers notice, ten what they complain of. A group throttles its writers at 25,000 queued
# (`group_replication_flow_control_applier_threshold`).
GRADES = (
    Grade(100),
    Grade(50, lag=1.0, queued=1_000),
    Grade(10, lag=10.0, queued=25_000),
)
GRAVE = len(GRADES) - 1  # entered at once
LEAST = 1  # never 0, which RFC 2782 has for targets that are hardly ever used


@dataclass(frozen=True, slots=True)
class Damped:
    """A grade, and since when (monotonic seconds) it leans to a worse (1) or better one (-1)."""

    grade: int = 0
    leaning: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Weighing:
    """A member's grade by lag, and whether it is loaded (1) or not (0)."""

    lag: Damped = field(default_factory=Damped)
    load: Damped = field(default_factory=Damped)

    @property
    def share(self) -> int:
        """Of the weight that it has when all is well, in a hundred."""
        return min(GRADES[self.lag.grade].weight, LOADED if self.load.grade else 100)


def weigh(before: Weighing | None, strain: Strain, *, now: float) -> Weighing:
    """Grade a member anew.

    A grave lag counts at once, anything else one grade at a time and only after it has held. A member that is new is
    graded by its lag as it stands, since nobody has its weight yet.
    """
    reached = _reached(strain, 1.0)
    if before is None:
        return Weighing(Damped(reached, 0, now), Damped(0, 0, now))
    load = before.load
    is_loaded = _is_loaded(strain, RELIEF if load.grade else 1.0)
    load = _damp(load, int(is_loaded), LOAD_PATIENCE, now)
    if reached == GRAVE:
        return Weighing(Damped(GRAVE, 0, now), load)
    grade = before.lag.grade
    wanted = reached if reached > grade else min(grade, _reached(strain, RELIEF))
    return Weighing(_damp(before.lag, wanted, LAG_PATIENCE, now), load)


def share_now(strain: Strain) -> int:
    """Of the weight that a member has when all is well, in a hundred, as it stands: for one who chooses anew each time.

    Such a one moves no herd, so nothing is damped.
    """
    return min(GRADES[_reached(strain, 1.0)].weight, LOADED if _is_loaded(strain, 1.0) else 100)


def scaled(weight: int, weighing: Weighing | None) -> int:
    """The weight to publish of a member that is offered, from the one it has when all is well."""
    return min(WEIGHT_LIMIT, max(LEAST, weight * (weighing.share if weighing else 100) // 100))


def _damp(before: Damped, wanted: int, patience: Patience, now: float) -> Damped:
    """One step towards the wanted grade, once it has been wanted for long enough."""
    leaning = (wanted > before.grade) - (wanted < before.grade)
    if leaning != before.leaning:
        return replace(before, leaning=leaning, since=now)
    if leaning == 0 or now - before.since < (patience.worse if leaning > 0 else patience.better):
        return before
    return Damped(before.grade + leaning, 0, now)


def _is_loaded(strain: Strain, share: float) -> bool:
    if strain.load is None or strain.others is None:
        return False
    return strain.load >= share * max(LOAD, LOAD_RATIO * strain.others)


def _reached(strain: Strain, share: float) -> int:
    """The worst grade of which one measure, times the share, is reached."""
    return max(number for number, grade in enumerate(GRADES) if number == 0 or _reaches(strain, grade, share))


def _reaches(strain: Strain, grade: Grade, share: float) -> bool:
    measures = ((strain.lag, grade.lag), (strain.queued, grade.queued))
    return any(has is not None and limit is not None and has >= limit * share for has, limit in measures)
