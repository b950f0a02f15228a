"""What a MySQL server is asked, and how its answer is read. Pure: text in, a report out, over whichever protocol.

Everything comes as one JSON document in one column of one row: one round trip, and little to decode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cluster.members import Role, State
from cluster.observations import Report, ViewRow, parse_view_id

_ASK = """
SELECT JSON_OBJECT(
    'uuid', @@server_uuid, 'version', @@version,
    'read_only', @@read_only OR @@super_read_only, 'offline_mode', @@offline_mode,{more})
"""
#: Of a server that has the Group Replication plugin.
ASK_GROUP = _ASK.format(
    more="""
    'group_name', @@group_replication_group_name, 'single_primary', @@group_replication_single_primary_mode,
    'rows', (SELECT JSON_ARRAYAGG(
            JSON_ARRAY(MEMBER_ID, MEMBER_HOST, MEMBER_PORT, MEMBER_ROLE, MEMBER_STATE, MEMBER_VERSION))
        FROM performance_schema.replication_group_members WHERE MEMBER_ID <> ''),
    'stats', (SELECT JSON_ARRAY(
            VIEW_ID, COUNT_TRANSACTIONS_IN_QUEUE + COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE)
        FROM performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid),
    'lag', (SELECT MAX(TIMESTAMPDIFF(MICROSECOND, APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)))
        FROM performance_schema.replication_applier_status_by_worker
        WHERE CHANNEL_NAME = 'group_replication_applier' AND APPLYING_TRANSACTION <> '')"""
)
#: Of any other: without that plugin its variables do not exist, and naming them is error 1193.
ASK_SERVER = _ASK.format(more="\n    'plain', 1")
#: How busy it is. Dearer for the server than the rest, so asked more seldom.
ASK_LOAD = """
SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Threads_running'
"""
UNKNOWN_SYSTEM_VARIABLE = 1193


class AnswerError(Exception):
    """An answer has another shape than its question asks for."""


def read_report(text: object, load: int | None = None) -> Report:
    """Read the answer to `ASK_GROUP` or `ASK_SERVER`.

    Args:
        text: the one column of the one row.
        load: the latest answer to `ASK_LOAD`.

    Raises:
        AnswerError: it is something else.
    """
    try:
        said = json.loads(str(text))
        view_id, queued = said.get("stats") or (None, 0)
        return Report(
            uuid=str(said["uuid"]),
            read_only=bool(said["read_only"]),
            offline_mode=bool(said["offline_mode"]),
            group_name=str(said.get("group_name") or ""),
            view_id=parse_view_id(view_id),
            rows=tuple(
                ViewRow(str(uuid), str(host), int(port), Role(role or "UNKNOWN"), State(state), str(version))
                for uuid, host, port, role, state, version in said.get("rows") or ()
            ),
            single_primary=bool(said.get("single_primary", 1)),
            queued=int(queued),
            lag=_group_lag(said),
            load=load,
            version=str(said["version"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise AnswerError(f"unexpected answer to the probe's question: {type(exc).__name__} {exc}") from exc


def read_load(text: object) -> int:
    """Read the answer to `ASK_LOAD`.

    Raises:
        AnswerError: it is something else.
    """
    try:
        return int(str(text))
    except ValueError as exc:
        raise AnswerError(f"unexpected answer to the probe's question for load: {text!r}") from exc


def _group_lag(said: Mapping[str, Any]) -> float | None:
    """Seconds since the transaction that is being applied was committed where it came from, by the servers' clocks."""
    if not said.get("rows"):
        return None
    return max(0.0, int(said.get("lag") or 0) / 1e6)  # a source whose clock is ahead makes it negative
