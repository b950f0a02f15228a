"""What `fairlead probe` makes of one look: exit status, words and the JSON document."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cluster.commands import HEALTHY, UNHEALTHY, describe, verdict
from cluster.gtids import parse
from cluster.members import Endpoint, Member
from cluster.observations import (
    Channel,
    GaleraNode,
    Observation,
    Outcome,
    Receiver,
    Replication,
    Report,
    SemiSync,
)

UUID, SOURCE_UUID = "79353d9d-e4d4-11f1-b1a1-fa94843ed449", "79356d4d-e4d4-11f1-8f03-2202b16958f0"
SERVER = Report(UUID, True, False, "", None, (), version="9.7.4", replication=Replication())
CHANNEL = Channel("db-0", 3306, SOURCE_UUID, Receiver.ON, applying=True)
CLASH = "error 1062: Duplicate entry '1' for key 't.PRIMARY'"
NODE = GaleraNode(UUID, 3, True, True, True, 4, "Synced", 3)
GALERA = replace(SERVER, version="10.11.6-MariaDB", read_only=False, replication=None)


def told(report: Report) -> tuple[int, str]:
    return verdict(Observation(Member("db-1", None, Endpoint("db-1", 33060)), 0.0, Outcome.ANSWERED, report))


def server(*channels: Channel, writable: bool = False, replicas: int = 0) -> tuple[int, str]:
    return told(replace(SERVER, read_only=not writable, replication=Replication(channels, replicas=replicas)))


def test_a_server_is_called_what_it_is() -> None:
    assert server(writable=True) == (HEALTHY, "standalone server, writable, MySQL 9.7.4")
    assert server() == (HEALTHY, "standalone server, read-only, MySQL 9.7.4")
    assert server(writable=True, replicas=2) == (HEALTHY, "source (replicas connected: 2), writable, MySQL 9.7.4")
    assert server(CHANNEL) == (HEALTHY, "replica of db-0:3306, read-only, MySQL 9.7.4")
    assert server(CHANNEL, replicas=1) == (
        HEALTHY,
        "replica of db-0:3306, source (replicas connected: 1), read-only, MySQL 9.7.4",
    )
    assert told(GALERA) == (HEALTHY, "server outside of Galera, writable, 10.11.6-MariaDB")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"receiver": Receiver.OFF, "applying": False, "applier_error": CLASH}, f"its applier has stopped: {CLASH}"),
        ({"receiver": Receiver.OFF, "applying": False}, "its applier is stopped"),
        ({"applying": False, "name": "east"}, "channel east: its applier is stopped"),
        ({"receiver": Receiver.OFF, "silent": 3.0}, "its receiver is not connected (OFF)"),
        (
            {"receiver": Receiver.CONNECTING, "receiver_error": "error 2003: Can't connect"},
            "its receiver is not connected (CONNECTING): error 2003: Can't connect; it has heard nothing yet",
        ),
    ],
)
def test_a_replica_that_does_not_replicate_is_not_healthy(changes: dict[str, object], words: str) -> None:
    status, said = server(replace(CHANNEL, **changes))  # type: ignore[arg-type]
    assert (status, said.partition("; ")[2]) == (UNHEALTHY, words)
    assert said.startswith("replica of db-0:3306, read-only")
    both = server(replace(CHANNEL, name="a"), replace(CHANNEL, **{"name": "b"} | changes))  # type: ignore[arg-type]
    assert both[0] == UNHEALTHY, "one of its channels is enough"


def test_lag_is_told_and_is_not_ill_health() -> None:
    assert server(replace(CHANNEL, lag=2.53)) == (HEALTHY, "replica of db-0:3306, read-only, MySQL 9.7.4, 2.5 s late")


def test_a_channel_that_a_promotion_left_behind_makes_no_replica() -> None:
    left = replace(CHANNEL, receiver=Receiver.OFF, applying=False)
    words = "standalone server, writable, MySQL 9.7.4, the channel from db-0:3306 is stopped"
    assert server(left, writable=True) == (HEALTHY, words)
    assert server(replace(left, applier_error=CLASH), writable=True)[0] == UNHEALTHY


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, HEALTHY, "Galera node, Synced, writable, 10.11.6-MariaDB"),
        (
            {"local_state": 2, "state_comment": "Donor/Desynced"},
            UNHEALTHY,
            "Galera node, Donor/Desynced, writable, 10.11.6-MariaDB; it is not Synced",
        ),
        (
            {"local_state": 2, "state_comment": "Donor/Desynced", "desync": True},
            UNHEALTHY,
            "Galera node, Donor/Desynced, writable, 10.11.6-MariaDB; it is not Synced (wsrep_desync = ON)",
        ),
        (
            {"local_state": 3, "state_comment": "Joined"},
            UNHEALTHY,
            "Galera node, Joined, writable, 10.11.6-MariaDB; it is not Synced",
        ),
        (
            {"primary": False, "ready": False, "conf_id": None, "local_state": 0, "state_comment": "Initialized"},
            UNHEALTHY,
            "Galera node, Initialized, writable, 10.11.6-MariaDB; it belongs to no primary component",
        ),
        (
            {"ready": False},
            UNHEALTHY,
            "Galera node, Synced, writable, 10.11.6-MariaDB; it is not ready for statements",
        ),
    ],
)
def test_a_galera_node_is_healthy_only_where_it_serves(changes: dict[str, object], status: int, words: str) -> None:
    assert told(replace(GALERA, galera=replace(NODE, **changes))) == (status, words)  # type: ignore[arg-type]


def test_the_document_has_the_channels() -> None:
    broken = replace(CHANNEL, applying=False, applier_error=CLASH, waiting=4, lag=2.5)
    replication = Replication((broken,), parse(f"{SOURCE_UUID}:1-4"), "", SemiSync(False, False, 0, True), 1)
    report = replace(SERVER, replication=replication)
    seen = Observation(Member("db-1", None, Endpoint("db-1", 33060)), 0.0, Outcome.ANSWERED, report)
    document = json.loads(json.dumps(describe(seen, *verdict(seen))))
    assert (document["verdict"], document["address"]) == ("unhealthy", "db-1:33060")
    assert document["replication"] == {
        "roles": ["replica", "source"],
        "replicas_connected": 1,
        "gtid_executed": f"{SOURCE_UUID}:1-4",
        "semi_sync": {"source": False, "active": False, "replicas": 0, "acknowledges": True},
        "channels": [
            {
                "name": "",
                "source": "db-0:3306",
                "source_uuid": SOURCE_UUID,
                "receiver": "ON",
                "receiver_error": None,
                "applying": False,
                "applier_error": CLASH,
                "transactions_waiting": 4,
                "seconds_late": 2.5,
                "seconds_silent": None,
            }
        ],
    }
    alone = replace(seen, report=replace(SERVER, replication=Replication()))
    assert json.loads(json.dumps(describe(alone, *verdict(alone))))["replication"]["roles"] == ["standalone"]
    node = replace(seen, report=replace(GALERA, galera=NODE))
    told_of_node = describe(node, *verdict(node))
    assert "replication" not in told_of_node
    assert told_of_node["galera"] == {
        "state_uuid": UUID,
        "configuration": 3,
        "primary": True,
        "connected": True,
        "ready": True,
        "state": "Synced",
        "desync": False,
        "size": 3,
        "addresses": [],
    }
