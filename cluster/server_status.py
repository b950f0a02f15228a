"""What a server counts of itself: what it is asked, and how its answer is read. Pure.

For people who watch, not for judging members. The names are those under which mysqld_exporter's users know the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.questions import MISREAD, AnswerError

# MySQL manual, "Server Status Variables".
STATUS = (
    "Aborted_clients",
    "Aborted_connects",
    "Bytes_received",
    "Bytes_sent",
    "Connections",
    "Innodb_buffer_pool_pages_data",
    "Innodb_buffer_pool_pages_dirty",
    "Innodb_buffer_pool_pages_free",
    "Innodb_buffer_pool_pages_misc",
    "Innodb_buffer_pool_read_requests",
    "Innodb_buffer_pool_reads",
    "Max_used_connections",
    "Queries",
    "Questions",
    "Slow_queries",
    "Threads_connected",
    "Threads_running",
    "Uptime",
)
VARIABLES = ("innodb_buffer_pool_size", "max_connections")
#: Of `performance_schema.replication_group_member_stats`, without its COUNT_.
GROUP = (
    "transactions_in_queue",
    "transactions_checked",
    "conflicts_detected",
    "transactions_remote_in_applier_queue",
    "transactions_remote_applied",
    "transactions_local_proposed",
    "transactions_local_rollback",
)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_PAIRS = "SELECT JSON_OBJECTAGG(VARIABLE_NAME, VARIABLE_VALUE) FROM performance_schema.{} WHERE VARIABLE_NAME IN ({})"
_COUNTS = ", ".join(f"'{name}', COUNT_{name.upper()}" for name in GROUP)
#: Of a MySQL server, one JSON document; a server without a group has no counts of one.
ASK_STATUS = f"""
SELECT JSON_OBJECT(
    'global_status', ({_PAIRS.format("global_status", _listed(STATUS))}),
    'global_variables', ({_PAIRS.format("global_variables", _listed(VARIABLES))}),
    'perf_schema', (SELECT JSON_OBJECT({_COUNTS}) FROM performance_schema.replication_group_member_stats
        WHERE MEMBER_ID = @@server_uuid AND VIEW_ID <> ''))
"""  # noqa: S608 - constants
#: Of a MariaDB server, rows of a name and a value.
ASK_MARIADB_STATUS = " UNION ALL ".join(
    f"SELECT CONCAT('{table}.', VARIABLE_NAME), VARIABLE_VALUE FROM information_schema.{table.upper()}"  # noqa: S608
    f" WHERE VARIABLE_NAME IN ({_listed(name.upper() for name in names)})"
    for table, names in (("global_status", STATUS), ("global_variables", VARIABLES))
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server counted.

    `values` by name, `global_status_threads_connected` and the like; `taken_at` is monotonic seconds. Where it could
    not be asked, `detail` says why, and there are no values.
    """

    taken_at: float
    values: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""


def read_status(rows: Sequence[Sequence[object]]) -> dict[str, float]:
    """Read the answer to `ASK_STATUS`.

    Raises:
        AnswerError: it is something else.
    """
    try:
        said = json.loads(str(rows[0][0]))
        return {
            f"{table}_{name.lower()}": float(value)
            for table, pairs in said.items()
            for name, value in (pairs or {}).items()
        }
    except (IndexError, *MISREAD) as exc:
        raise AnswerError(f"unexpected answer to the question for its counts: {type(exc).__name__}") from exc


def read_mariadb_status(rows: Sequence[Sequence[object]]) -> dict[str, float]:
    """Read the answer to `ASK_MARIADB_STATUS`.

    Raises:
        AnswerError: it is something else.
    """
    try:
        return {str(name).replace(".", "_").lower(): float(str(value)) for name, value in rows}
    except MISREAD as exc:
        raise AnswerError(f"unexpected answer to the question for its counts: {type(exc).__name__}") from exc
