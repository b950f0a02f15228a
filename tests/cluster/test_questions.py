"""What servers answer, as MySQL 9.7 has written it, and what is made of it."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.flavours import Flavour
from cluster.galera_questions import read_mariadb
from cluster.gtids import GtidSet, parse
from cluster.observations import Channel, Receiver, SemiSync
from cluster.questions import (
    ASK_GROUP,
    ASK_SERVER,
    LONGEST_GTID_SET,
    SELDOM,
    AnswerError,
    Load,
    better_question,
    read_load,
    read_report,
)

SOURCE = "79356d4d-e4d4-11f1-8f03-2202b16958f0"
CHANNEL = {
    "name": "",
    "host": "10.213.3.10",
    "port": 3306,
    "source_uuid": SOURCE,
    "receiver": "ON",
    "applier": "ON",
    "receiver_error": None,
    "worker_error": None,
    "coordinator_error": None,
    "waiting": "",
    "queued": None,
    "applying": None,
    "delayed": None,
    "silent": None,
}
REPLICA = {
    "uuid": "79353d9d-e4d4-11f1-b1a1-fa94843ed449",
    "version": "9.7.4",
    "read_only": 1,
    "offline_mode": 0,
    "rows": None,
    "gtid_mode": "ON",
    "executed": f"{SOURCE}:1-4",
    "channels": [CHANNEL],
}


def channel(**changes: object) -> Channel:
    report = read_report(json.dumps(REPLICA | {"channels": [CHANNEL | changes]}))
    assert report.replication is not None
    return report.replication.channels[0]


def test_a_replica_that_is_well() -> None:
    report = read_report(json.dumps(REPLICA), Load(3, SemiSync(False, False, 0, True)))
    assert report.flavour is Flavour.REPLICATION
    assert (report.read_only, report.load, report.lag) == (True, 3, None)
    assert report.replication is not None
    assert report.replication.channels == (Channel("10.213.3.10", 3306, SOURCE, Receiver.ON, applying=True),)
    assert report.replication.executed == parse(f"{SOURCE}:1-4")
    assert report.replication.semi_sync == SemiSync(False, False, 0, True)


def test_a_source_has_no_channels() -> None:
    report = read_report(json.dumps(REPLICA | {"channels": None, "executed": "", "read_only": 0}))
    assert report.replication is not None
    assert (report.replication.channels, report.replication.executed) == ((), GtidSet())


def test_lag_is_that_of_whatever_is_latest() -> None:
    assert channel().lag == 0.0
    assert channel(applying=1_500_000, queued=200_000).lag == 1.5
    assert channel(queued=1_634_131, waiting=f"{SOURCE}:3-4").lag == pytest.approx(1.634131)
    assert channel(waiting=f"{SOURCE}:3-4").waiting == 2
    assert channel(delayed=2_000_000, queued=100_000).lag == 2.0
    assert channel(applying=-40_000).lag == 0.0, "the source's clock is ahead"


def test_errors_keep_their_number_and_lose_what_changes_with_each_attempt() -> None:
    told = (
        "Error connecting to source 'replication@10.213.3.10:3306'. This was attempt 4/86400, with a delay of 1 "
        "seconds between attempts. Message: Can't connect to MySQL server on '10.213.3.10:3306' (111)"
    )
    broken = channel(receiver="CONNECTING", receiver_error=[2003, told], silent=7_000_000)
    assert broken.receiver is Receiver.CONNECTING
    assert broken.receiver_error == "error 2003: Can't connect to MySQL server on '10.213.3.10:3306' (111)"
    assert broken.silent == 7.0
    both = channel(
        applier="OFF", worker_error=[1062, "Duplicate entry '1'"], coordinator_error=[1062, "see the worker"]
    )
    assert (both.applying, both.applier_error) == (False, "error 1062: Duplicate entry '1'")
    assert channel(coordinator_error=[13121, "Relay log read failure"]).applier_error.startswith("error 13121")


@pytest.mark.parametrize(
    ("mode", "executed", "why"), [("OFF", "", "gtid_mode is OFF"), ("ON", None, "longer than 16 KiB")]
)
def test_what_is_executed_may_not_be_known(mode: str, executed: str | None, why: str) -> None:
    report = read_report(json.dumps(REPLICA | {"gtid_mode": mode, "executed": executed}))
    assert report.replication is not None
    assert report.replication.executed is None
    assert why in report.replication.not_told
    assert str(LONGEST_GTID_SET) in ASK_SERVER


def test_load_with_semi_sync_by_its_names_of_today_and_before() -> None:
    assert read_load("7") == read_load(7) == Load(7)
    assert read_load('{"Threads_running": "2"}') == Load(2)
    now = {
        "Threads_running": "2",
        "rpl_semi_sync_source_enabled": "ON",
        "Rpl_semi_sync_source_status": "OFF",
        "Rpl_semi_sync_source_clients": "1",
        "Rpl_semi_sync_replica_status": "OFF",
    }
    before = {name.replace("source", "master").replace("replica", "slave"): value for name, value in now.items()}
    assert read_load(json.dumps(now)) == read_load(json.dumps(before)) == Load(2, SemiSync(True, False, 1, False))


@pytest.mark.parametrize("text", ["[" * 120_000, json.dumps(REPLICA).replace("null", "[" * 120_000)])
def test_an_answer_that_is_nested_too_deeply_is_refused_as_such(text: str) -> None:
    for read in (read_report, read_load):
        with pytest.raises(AnswerError):
            read(text)


def test_a_name_or_value_that_is_nested_too_deeply_is_refused_of_mariadb_too() -> None:
    nested: list[object] = []
    for _ in range(120_000):
        nested = [nested]
    with pytest.raises(AnswerError, match="RecursionError"):
        read_mariadb([("HOSTNAME", nested)])


def test_how_many_replicas_are_connected() -> None:
    assert read_load('{"Threads_running": "2", "replicas": "3"}').replicas == 3
    report = read_report(json.dumps(REPLICA), Load(2, replicas=3))
    assert report.replication is not None
    assert report.replication.replicas == 3
    assert report.facts == read_report(json.dumps(REPLICA), Load(2)).facts, "a reader more or less changes no role"


def test_each_server_is_asked_what_suits_it() -> None:
    plain = read_report(json.dumps(REPLICA))
    assert better_question(ASK_SERVER, plain) is None
    assert better_question(ASK_GROUP, plain) is ASK_SERVER
    row = [REPLICA["uuid"], "h", 3306, "SECONDARY", "ONLINE", "9.7.4"]
    grouped = read_report(json.dumps(REPLICA | {"rows": [row]}))
    assert better_question(ASK_SERVER, grouped) is ASK_GROUP
    assert set(SELDOM) == {ASK_GROUP, ASK_SERVER}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["uuid", "rows", "stats", "channels", "executed", "gtid_mode", "version", "x"]), inner
            )
        ),
    )
)
def test_any_other_answer_is_refused_as_such(value: object) -> None:
    for text in (json.dumps(value), json.dumps(REPLICA | {"channels": value}), str(value)):
        for read in (read_report, read_load):
            with contextlib.suppress(AnswerError):
                read(text)
