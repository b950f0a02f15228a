"""What the members say of their group, and what to believe of it: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

IN_GROUP = frozenset({"ONLINE", "RECOVERING"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of a member's view."""

    uuid: str
    state: str
    role: str


@dataclass(frozen=True, slots=True)
class View:
    """One member's view of its group.

    Attributes:
        uuid: the UUID of the member whose view it is.
        view_id: `prefix:counter`; the prefix is the group's since it was founded, the counter rises with each change.
        seen: every member of its view, itself too.
        rejoining: it tries to come back to the group, or waits until it tries again, which may be 5 minutes.
    """

    uuid: str
    view_id: str
    seen: tuple[Seen, ...]
    rejoining: bool = False

    @property
    def prefix(self) -> str:
        return self.view_id.partition(":")[0]

    @property
    def counter(self) -> int:
        digits = self.view_id.partition(":")[2]
        return int(digits) if digits.isdigit() else 0

    @property
    def own(self) -> Seen | None:
        """What the member says of itself; nothing when it never joined a group."""
        return next((row for row in self.seen if row.uuid == self.uuid), None)

    @property
    def own_state(self) -> str:
        """The member's state in its own words."""
        return self.own.state if self.own else "OFFLINE"

    @property
    def is_stuck(self) -> bool:
        """Whether the member will not enter the group soon unless it is told to.

        One in ERROR that is not rejoining is still leaving, which takes up to 30 s, and rejoins after that: told to
        stop before, it would hang for a minute.
        """
        return self.own_state == "OFFLINE" or (self.own_state == "ERROR" and self.rejoining)

    @property
    def has_majority(self) -> bool:
        """Whether the member is in the group and reaches more than half of its view."""
        if self.own_state not in IN_GROUP:
            return False
        return 2 * sum(row.state in IN_GROUP for row in self.seen) > len(self.seen)


@dataclass(frozen=True, slots=True)
class Standing:
    """What to believe of one member: Group Replication's words, from the view that has the majority."""

    uuid: str
    state: str
    role: str


def judge(views: Mapping[str, View]) -> dict[str, Standing]:
    """Return each answering member's standing.

    A member that the ruling view does not list is not ONLINE whatever it says: it counts as UNREACHABLE then. One that
    itself says that it is not ONLINE is believed: the others may still wait for the process that was there before, or
    know a moment before the member itself that it has caught up.
    Of the views that have a majority those of the most members rule, and of these the latest: a member that was
    expelled and does not know it yet still has the view from before.

    Args:
        views: by member name; members that do not answer are absent.
    """
    trusted = [view for view in views.values() if view.has_majority]
    holders = Counter(view.prefix for view in trusted)
    ruling = max(trusted, key=lambda view: (holders[view.prefix], view.counter), default=None)
    rows = {row.uuid: row for row in ruling.seen} if ruling else {}
    standings = {}
    for name, view in views.items():
        row = rows.get(view.uuid, Seen(view.uuid, "UNREACHABLE", ""))
        if view.own_state not in IN_GROUP or (row.state == "ONLINE" and view.own_state != "ONLINE"):
            row = Seen(view.uuid, view.own_state, "")
        standings[name] = Standing(view.uuid, row.state, row.role if row.state == "ONLINE" else "")
    return standings


def count_transactions(gtid_set: str) -> int:
    """Return how many transactions a GTID set has, tagged ones (`uuid:tag:1-5`) too."""
    count = 0
    for part in gtid_set.replace("\n", "").split(","):
        for piece in part.strip().split(":")[1:]:
            first, dash, last = piece.strip().partition("-")
            if first.isdigit():
                count += int(last) - int(first) + 1 if dash else 1
    return count


def most_advanced(held: Mapping[str, Sequence[str]]) -> str:
    """Return the member to start the group from: the one that has the most transactions, the first of equals.

    Args:
        held: by member, GTID sets that do not overlap: what it has applied, what it has received on top.

    Raises:
        ValueError: there is no member.
    """
    return max(sorted(held), key=lambda name: sum(map(count_transactions, held[name])))


def all_online(names: Iterable[str], standings: Mapping[str, Standing]) -> bool:
    """Whether each of these members is ONLINE."""
    return all(name in standings and standings[name].state == "ONLINE" for name in names)


def primary_of(standings: Mapping[str, Standing]) -> str | None:
    """Return the name of the one primary, or nothing when there is none or more than one."""
    names = [name for name, standing in standings.items() if standing.role == "PRIMARY"]
    return names[0] if len(names) == 1 else None
