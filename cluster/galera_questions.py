"""What a MariaDB server is asked, and how its answer is read. Pure: rows in, a report out.

Everything comes with one statement, out of `information_schema`: those are the only tables that a Galera node lets
anybody read while it belongs to no primary component (elsewhere error 1047, unless `wsrep_dirty_reads` is on). Any
account may read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cluster.observations import GaleraNode, Report
from cluster.questions import MISREAD, AnswerError

# MariaDB manual, "Galera Cluster Status Variables".
_STATUS = (
    "WSREP_CLUSTER_CONF_ID",
    "WSREP_CLUSTER_SIZE",
    "WSREP_CLUSTER_STATE_UUID",
    "WSREP_CLUSTER_STATUS",
    "WSREP_CONNECTED",
    "WSREP_GCOMM_UUID",
    "WSREP_INCOMING_ADDRESSES",
    "WSREP_LOCAL_INDEX",
    "WSREP_LOCAL_RECV_QUEUE",
    "WSREP_LOCAL_STATE",
    "WSREP_LOCAL_STATE_COMMENT",
    "WSREP_READY",
    "WSREP_REPLICATED",
    "THREADS_RUNNING",
    "UPTIME",
)
_VARIABLES = (
    "HOSTNAME",
    "PORT",
    "READ_ONLY",
    "VERSION",
    "WSREP_DESYNC",
    "WSREP_DIRTY_READS",
    "WSREP_ON",
    "WSREP_PROVIDER",
    "WSREP_REJECT_QUERIES",
)


def _ask(table: str, names: Sequence[str]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.{table} WHERE VARIABLE_NAME IN ({quoted})"  # noqa: S608 - constants


#: Of any MariaDB server. What it does not know is left out of the answer, without an error.
ASK_MARIADB = f"{_ask('GLOBAL_STATUS', _STATUS)} UNION ALL {_ask('GLOBAL_VARIABLES', _VARIABLES)}"
#: What a node reports as its `wsrep_cluster_conf_id` while it belongs to no primary component: -1, without a sign.
NO_COMPONENT = 2**64 - 1
#: In `wsrep_incoming_addresses`, for a node whose address was not set.
NOT_TOLD = "AUTO"


def read_mariadb(rows: Iterable[Sequence[object]]) -> Report:
    """Read the answer to `ASK_MARIADB`.

    Args:
        rows: names and values.

    Raises:
        AnswerError: it is something else.
    """
    try:
        said = {str(name).upper(): str(value) for name, value in rows}
        galera = _node(said) if _replicates(said) else None
        return Report(
            uuid=said["WSREP_GCOMM_UUID"] if galera and galera.connected else f"{said['HOSTNAME']}:{said['PORT']}",
            read_only=_is_on(said["READ_ONLY"]),
            offline_mode=False,  # MariaDB knows no such thing
            group_name="",
            view_id=None,
            rows=(),
            single_primary=False,
            queued=int(said.get("WSREP_LOCAL_RECV_QUEUE", 0)),
            version=said["VERSION"],
            load=int(said["THREADS_RUNNING"]),
            galera=galera,
        )
    except MISREAD as exc:
        raise AnswerError(f"unexpected answer to the probe's question: {type(exc).__name__} {exc}") from exc


def _replicates(said: dict[str, str]) -> bool:
    return _is_on(said.get("WSREP_ON", "OFF")) and said.get("WSREP_PROVIDER", "none") not in ("", "none")


def _node(said: dict[str, str]) -> GaleraNode:
    if "WSREP_CLUSTER_STATUS" not in said:  # the provider is not loaded: not yet, or as the server ends no longer
        return GaleraNode("", None, False, connected=False, ready=False, local_state=0, state_comment="no provider")
    conf_id = int(said["WSREP_CLUSTER_CONF_ID"])
    parts = (part.strip() for part in said["WSREP_INCOMING_ADDRESSES"].split(","))
    return GaleraNode(
        state_uuid=said["WSREP_CLUSTER_STATE_UUID"],
        conf_id=None if conf_id == NO_COMPONENT else conf_id,
        primary=said["WSREP_CLUSTER_STATUS"] == "Primary",
        connected=_is_on(said["WSREP_CONNECTED"]),
        ready=_is_on(said["WSREP_READY"]),
        local_state=int(said["WSREP_LOCAL_STATE"]),
        state_comment=said["WSREP_LOCAL_STATE_COMMENT"],
        size=int(said["WSREP_CLUSTER_SIZE"]),
        index=int(said["WSREP_LOCAL_INDEX"]) if said["WSREP_LOCAL_INDEX"].isdecimal() else None,
        addresses=tuple("" if part == NOT_TOLD else part for part in parts),
        desync=_is_on(said["WSREP_DESYNC"]),
        dirty_reads=_is_on(said.get("WSREP_DIRTY_READS", "OFF")),
        rejects=said.get("WSREP_REJECT_QUERIES", "NONE") != "NONE",
        compared=False,
        uptime=int(said["UPTIME"]),
        replicated=int(said["WSREP_REPLICATED"]),
    )


def compare(report: Report, before: Report | None, seconds: float) -> Report:
    """A node's report with what only two looks tell: what is written there, and for how long it is as it is.

    Args:
        report: the later one.
        before: the one that came before it; without one, or after a restart, there is nothing to compare.
        seconds: between the two, more than 0.
    """
    node, was = report.galera, before.galera if before else None
    if node is None or was is None or before is None or before.uuid != report.uuid:
        return report
    # Writers pause, and flow control makes them: a look without a write does not mean that nobody writes there.
    written = max((node.replicated - was.replicated) / seconds, was.written / 2)
    in_state = was.in_state + seconds if node.local_state == was.local_state else 0.0
    return replace(report, galera=replace(node, compared=True, written=written, in_state=in_state))


def _is_on(value: str) -> bool:
    return value.upper() not in ("OFF", "0", "NO", "FALSE", "")
