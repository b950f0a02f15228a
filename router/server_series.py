"""What members count of themselves, as metrics under the names that mysqld_exporter's users know.

Where the meaning is the same the name is, too; `cluster` and `member` are its labels. Owns the names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from router.families import Family, counter, gauge, untyped

if TYPE_CHECKING:
    from cluster.watch import Watch

LABELS = ["cluster", "member"]
# Intervals after which what was told is too old to be shown: one answer may fail.
KEPT = 3
STATUS, VARIABLES, GROUP = "global_status_", "global_variables_", "perf_schema_"
PAGES = f"{STATUS}innodb_buffer_pool_pages_"
QUEUES: Mapping[str, str] = {
    f"{GROUP}transactions_in_queue": "Transactions that wait for being certified.",
    f"{GROUP}transactions_remote_in_applier_queue": "Transactions of other members that wait for being applied.",
}
Told = Sequence[tuple[str, str, Mapping[str, float]]]
"""Of each member that told them: cluster, member, values by name."""


def server_families(watches: Mapping[str, Watch], now: float) -> Iterator[Family]:
    """The families of all clusters whose members are asked.

    Args:
        watches: by the cluster's name.
        now: monotonic seconds.
    """
    fresh = [
        (cluster, member, status)
        for cluster, watch in watches.items()
        for member, status in watch.statuses.items()
        if now - status.taken_at < KEPT * watch.timing.status_interval
    ]
    if not fresh:
        return
    up = [([cluster, member], float(bool(status.values))) for cluster, member, status in fresh]
    yield gauge("mysql_up", "1 where the member told its own counts when it was last asked.", LABELS, up)
    samples: dict[str, list[tuple[list[str], float]]] = defaultdict(list)
    for cluster, member, status in fresh:
        for name, value in status.values.items():
            samples[name].append(([cluster, member], value))
    yield gauge(
        f"mysql_{STATUS}buffer_pool_pages",
        "Innodb buffer pool pages by state.",
        [*LABELS, "state"],
        [([*labels, state], value) for state in ("data", "free", "misc") for labels, value in samples[PAGES + state]],
    )
    dirty = samples[f"{PAGES}dirty"]
    yield gauge(f"mysql_{STATUS}buffer_pool_dirty_pages", "Innodb buffer pool dirty pages.", LABELS, dirty)
    for name in sorted(one for one in samples if not one.startswith(PAGES)):
        if name in QUEUES:
            yield gauge(f"mysql_{name}", QUEUES[name], LABELS, samples[name])
        elif name.startswith(GROUP):
            words = f"COUNT_{name.removeprefix(GROUP).upper()} of replication_group_member_stats."
            yield counter(f"mysql_{name}", words, LABELS, samples[name])
        elif name.startswith(VARIABLES):
            yield gauge(f"mysql_{name}", "Generic gauge metric from SHOW GLOBAL VARIABLES.", LABELS, samples[name])
        else:
            yield untyped(f"mysql_{name}", "Generic metric from SHOW GLOBAL STATUS.", LABELS, samples[name])
