"""What a MySQL server is asked, and how its answer is read. Pure: text in, a report out, over whichever protocol.

Everything comes as one JSON document in one column of one row: one round trip, and little to decode. At rest it is the
same each time: what grows by itself, such as the time since something happened, is told only where it matters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.gtids import parse
from cluster.members import Role, State
from cluster.observations import Channel, Receiver, Replication, Report, SemiSync, ViewRow, parse_view_id

#: Bytes of a GTID set's text that are asked for: a thousand intervals, where a cluster in order has one for each server
#: that ever was its source, and what this process reads in 5 ms. A set that is cut short would say something else.
LONGEST_GTID_SET = 16 << 10
#: Characters of an error's text: MySQL says what is wrong at its beginning.
LONGEST_ERROR = 240

_ASK = """
SELECT JSON_OBJECT(
    'uuid', @@server_uuid, 'version', @@version,
    'read_only', @@read_only OR @@super_read_only, 'offline_mode', @@offline_mode,
    'rows', (SELECT JSON_ARRAYAGG(
            JSON_ARRAY(MEMBER_ID, MEMBER_HOST, MEMBER_PORT, MEMBER_ROLE, MEMBER_STATE, MEMBER_VERSION))
        FROM performance_schema.replication_group_members WHERE {which}),{more})
"""
#: Of a server that has the Group Replication plugin.
ASK_GROUP = _ASK.format(
    which="MEMBER_ID <> ''",
    more="""
    'group_name', @@group_replication_group_name, 'single_primary', @@group_replication_single_primary_mode,
    'stats', (SELECT JSON_ARRAY(
            VIEW_ID, COUNT_TRANSACTIONS_IN_QUEUE + COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE)
        FROM performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid),
    'lag', (SELECT MAX(TIMESTAMPDIFF(MICROSECOND, APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)))
        FROM performance_schema.replication_applier_status_by_worker
        WHERE CHANNEL_NAME = 'group_replication_applier' AND APPLYING_TRANSACTION <> '')""",
)
#: Of any other, and of one that has the plugin and no group: without the plugin its variables do not exist, and naming
#: them is error 1193. With the plugin it always shows itself as an OFFLINE member, of no group. A transaction that
#: waits for SOURCE_DELAY is in no worker's hands yet; what remains of the delay may, by the clocks, exceed all of it.
ASK_SERVER = _ASK.format(
    which="MEMBER_STATE <> 'OFFLINE'",
    more=f"""
    'gtid_mode', @@gtid_mode,
    'executed', IF(LENGTH(@@GLOBAL.gtid_executed) > {LONGEST_GTID_SET}, NULL, @@GLOBAL.gtid_executed),
    'channels', (SELECT JSON_ARRAYAGG(JSON_OBJECT(
            'name', c.CHANNEL_NAME, 'host', c.HOST, 'port', c.PORT, 'source_uuid', s.SOURCE_UUID,
            'receiver', s.SERVICE_STATE, 'applier', a.SERVICE_STATE,
            'receiver_error', IF(s.LAST_ERROR_NUMBER = 0, NULL,
                JSON_ARRAY(s.LAST_ERROR_NUMBER, LEFT(s.LAST_ERROR_MESSAGE, {LONGEST_ERROR}))),
            'worker_error', (SELECT JSON_ARRAY(w.LAST_ERROR_NUMBER, LEFT(w.LAST_ERROR_MESSAGE, {LONGEST_ERROR}))
                FROM performance_schema.replication_applier_status_by_worker w
                WHERE w.CHANNEL_NAME = c.CHANNEL_NAME AND w.LAST_ERROR_NUMBER <> 0 LIMIT 1),
            'coordinator_error', (SELECT JSON_ARRAY(w.LAST_ERROR_NUMBER, LEFT(w.LAST_ERROR_MESSAGE, {LONGEST_ERROR}))
                FROM performance_schema.replication_applier_status_by_coordinator w
                WHERE w.CHANNEL_NAME = c.CHANNEL_NAME AND w.LAST_ERROR_NUMBER <> 0 LIMIT 1),
            'waiting', IF(LENGTH(s.RECEIVED_TRANSACTION_SET) > {LONGEST_GTID_SET}, '',
                GTID_SUBTRACT(s.RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed)),
            'queued', IF(LOCATE(':', s.LAST_QUEUED_TRANSACTION) = 0, NULL,
                IF(GTID_SUBSET(s.LAST_QUEUED_TRANSACTION, @@GLOBAL.gtid_executed), NULL,
                    TIMESTAMPDIFF(MICROSECOND, s.LAST_QUEUED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)))),
            'applying', (SELECT MAX(TIMESTAMPDIFF(
                    MICROSECOND, w.APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6)))
                FROM performance_schema.replication_applier_status_by_worker w
                WHERE w.CHANNEL_NAME = c.CHANNEL_NAME AND w.APPLYING_TRANSACTION <> ''),
            'delayed', (SELECT 1000000 * (CAST(d.DESIRED_DELAY AS SIGNED) - CAST(a.REMAINING_DELAY AS SIGNED))
                FROM performance_schema.replication_applier_configuration d WHERE d.CHANNEL_NAME = c.CHANNEL_NAME),
            'silent', IF(s.SERVICE_STATE = 'ON', NULL, TIMESTAMPDIFF(MICROSECOND,
                GREATEST(s.LAST_HEARTBEAT_TIMESTAMP, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP), NOW(6)))))
        FROM performance_schema.replication_connection_configuration c
        JOIN performance_schema.replication_connection_status s ON s.CHANNEL_NAME = c.CHANNEL_NAME
        JOIN performance_schema.replication_applier_status a ON a.CHANNEL_NAME = c.CHANNEL_NAME
        WHERE c.CHANNEL_NAME NOT LIKE 'group\\_replication\\_%')""",  # noqa: S608 - no text of others is in it
)
#: How busy it is. Dearer for the server than the rest, so asked more seldom.
ASK_LOAD = """
SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Threads_running'
"""
#: The same; how many replicas are connected; and semi-synchronous replication, whose plugins may have the names from
#: before 8.0.26. A replica that comes anew is told from the thread that an idle source still has for it by its UUID.
ASK_SERVER_LOAD = """
SELECT JSON_OBJECTAGG(VARIABLE_NAME, VARIABLE_VALUE) FROM (
    SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME IN (
        'Threads_running', 'Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients',
        'Rpl_semi_sync_replica_status', 'Rpl_semi_sync_master_status', 'Rpl_semi_sync_master_clients',
        'Rpl_semi_sync_slave_status')
    UNION ALL SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_variables
    WHERE VARIABLE_NAME IN ('rpl_semi_sync_source_enabled', 'rpl_semi_sync_master_enabled')
    UNION ALL SELECT 'replicas', CAST(COUNT(DISTINCT v.VARIABLE_VALUE) AS CHAR)
    FROM performance_schema.threads t JOIN performance_schema.user_variables_by_thread v ON v.THREAD_ID = t.THREAD_ID
    WHERE t.PROCESSLIST_COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')
        AND v.VARIABLE_NAME IN ('replica_uuid', 'slave_uuid')) AS told
"""
#: What is asked of a server now and then, by what it is asked each time.
SELDOM: Mapping[str, str] = {ASK_GROUP: ASK_LOAD, ASK_SERVER: ASK_SERVER_LOAD}
UNKNOWN_SYSTEM_VARIABLE = 1193
#: What reading an answer of another shape may raise; of JSON nested too deeply, RecursionError.
MISREAD = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class AnswerError(Exception):
    """An answer has another shape than its question asks for."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a server said when it was last asked how busy it is. `semi_sync` is None where it has no such plugin.

    `replicas`: how many are connected to it.
    """

    threads: int
    semi_sync: SemiSync | None = None
    replicas: int = 0


def better_question(question: str, report: Report) -> str | None:
    """The question that suits a server better than the one it has answered; None where that one does.

    A server may have the plugin and no group, or have joined a group since it was last asked. One with a group's name
    set is asked as a member of it, whatever the flavour that is set for its cluster: nothing is then known of its
    channels. So on servers that replicate otherwise, `group_replication_group_name` must be empty.
    """
    if question is ASK_GROUP:
        return None if report.group_name else ASK_SERVER
    return ASK_GROUP if report.rows else None


def read_report(text: object, load: Load | None = None) -> Report:
    """Read the answer to `ASK_GROUP` or `ASK_SERVER`.

    Args:
        text: the one column of the one row.
        load: the latest answer to what `SELDOM` has for that question.

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
            load=load.threads if load else None,
            version=str(said["version"]),
            replication=_replication(said, load) if "gtid_mode" in said else None,
        )
    except MISREAD as exc:
        raise AnswerError(f"unexpected answer to the probe's question: {type(exc).__name__} {str(exc)[:200]}") from exc


def read_load(text: object) -> Load:
    """Read the answer to `ASK_LOAD`, a number, or to `ASK_SERVER_LOAD`.

    Raises:
        AnswerError: it is something else.
    """
    try:
        said = json.loads(str(text))
        if isinstance(said, int):
            return Load(said)
        by_name = {
            name.lower().replace("_master_", "_source_").replace("_slave_", "_replica_").removeprefix("rpl_semi_sync_"):
            value for name, value in said.items()
        }  # fmt: skip
        return Load(int(by_name["threads_running"]), _semi_sync(by_name), int(by_name.get("replicas", 0)))
    except MISREAD as exc:
        raise AnswerError(f"unexpected answer to the probe's question for load: {str(text)[:200]!r}") from exc


def _group_lag(said: Mapping[str, Any]) -> float | None:
    """Seconds since the transaction that is being applied was committed where it came from, by the servers' clocks."""
    if not said.get("rows"):
        return None
    return _seconds(said.get("lag")) or 0.0


def _seconds(microseconds: Any) -> float | None:
    # A source whose clock is ahead makes it negative.
    return None if microseconds is None else max(0.0, int(microseconds) / 1e6)


def _replication(said: Mapping[str, Any], load: Load | None) -> Replication:
    executed, not_told = said["executed"], ""
    if said["gtid_mode"] != "ON":
        executed, not_told = None, f"gtid_mode is {said['gtid_mode']}"
    elif executed is None:
        not_told = f"its GTID set is longer than {LONGEST_GTID_SET >> 10} KiB"
    return Replication(
        channels=tuple(sorted(map(_channel, said["channels"] or ()), key=lambda channel: channel.name)),
        executed=None if executed is None else parse(executed),
        not_told=not_told,
        semi_sync=load.semi_sync if load else None,
        replicas=load.replicas if load else 0,
    )


def _channel(said: Mapping[str, Any]) -> Channel:
    # What waits for its delay, or for a worker, is behind by no less than what was received last.
    late = (_seconds(said[key]) for key in ("applying", "delayed", "queued"))
    return Channel(
        name=str(said["name"]),
        host=str(said["host"]),
        port=int(said["port"]),
        source_uuid=str(said["source_uuid"] or "").lower(),
        receiver=Receiver(said["receiver"]),
        applying=said["applier"] == "ON",
        receiver_error=_error(said["receiver_error"]),
        applier_error=_error(said["worker_error"] or said["coordinator_error"]),
        waiting=parse(said["waiting"] or "").count,
        lag=max((seconds for seconds in late if seconds is not None), default=0.0),
        silent=_seconds(said["silent"]),
    )


def _error(said: Any) -> str:
    if not said:
        return ""
    number, message = said
    # A receiver counts its attempts in the words before this one; the error is the same each time.
    return f"error {number}: {str(message).rpartition('Message: ')[2].strip()}"


def _semi_sync(by_name: Mapping[str, str]) -> SemiSync | None:
    if not {"source_enabled", "source_status", "replica_status"} & by_name.keys():
        return None
    return SemiSync(
        wanted=by_name.get("source_enabled") == "ON",
        active=by_name.get("source_status") == "ON",
        replicas=int(by_name.get("source_clients", 0)),
        acknowledges=by_name.get("replica_status") == "ON",
    )
