"""A leased key's text: what is written is what is read, and nothing but ValueError for what cannot be."""

from __future__ import annotations

import contextlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import gtids
from cluster.members import Endpoint, Role, State
from cluster.observations import Channel, Outcome, Receiver, Replication, Report, SemiSync, ViewId, ViewRow
from srv.leases import VALUE_LIMIT, Lease, key_of, read, read_key, write

ROWS = st.builds(
    ViewRow, st.text(), st.text(), st.integers(), st.sampled_from(Role), st.sampled_from(State), version=st.text()
)
# By type, so that what is added to a report is tried too.
REPORTS = st.from_type(Report)
LEASES = st.builds(
    Lease,
    st.lists(st.ip_addresses().map(str), min_size=1, max_size=8).map(tuple),
    st.none() | st.integers(1, 65535),
    st.none() | st.integers(1, 65535),
    st.sampled_from(Outcome),
    st.text(max_size=50),
    st.none() | REPORTS,
    st.booleans(),
    st.integers(1, 65535),
    st.integers(0, 100),
)
PRIMARY = Report(
    "u0", False, False, "g", ViewId("v", 7), (ViewRow("u0", "h", 3306, Role.PRIMARY, State.ONLINE),), lag=0.25, load=3
)
ONE = Lease(("192.0.2.1",), 3306, 33060, Outcome.ANSWERED, report=PRIMARY)


@given(LEASES)
def test_what_is_written_is_read(lease: Lease) -> None:
    value = write(lease)
    if len(value) <= VALUE_LIMIT and "nan" not in repr(lease) and "inf" not in repr(lease):
        assert read(value) == lease


def test_people_and_others_find_the_members_own_word() -> None:
    document = json.loads(write(ONE))
    assert [document[key] for key in ("form", "uuid", "role", "state")] == [1, "u0", "PRIMARY", "ONLINE"]
    assert document["report"]["view_id"] == {"prefix": "v", "counter": 7}
    assert {each.name for each in fields(Lease)} < document.keys()
    silent = json.loads(write(Lease(("192.0.2.1",), 3306, None, Outcome.REFUSED)))
    assert [silent[key] for key in ("uuid", "role", "state", "report")] == [None, "UNKNOWN", "UNKNOWN", None]


def test_what_a_newer_agent_adds_is_skipped_and_what_an_older_one_leaves_out_has_its_default() -> None:
    document = json.loads(write(ONE))
    document["mood"] = document["report"]["mood"] = "good"
    del document["weight"], document["report"]["load"]
    found = read(json.dumps(document).encode())
    assert found.report is not None
    assert (found.weight, found.report.load, found.report.lag) == (100, None, 0.25)


def test_a_replicas_report_is_read_as_it_was_written() -> None:
    channel = Channel("db0.test", 3306, "u0", Receiver.CONNECTING, True, waiting=3, lag=0.5, silent=2.0)
    executed = gtids.parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,4e11fa47-71ca-11e1-9e33-c80aa9429562:tag:1-3")
    replication = Replication((channel,), executed, semi_sync=SemiSync(False, False, 0, True))
    lease = replace(ONE, report=replace(PRIMARY, group_name="", view_id=None, rows=(), replication=replication))
    assert read(write(lease)) == lease
    moved = replace(channel, waiting=4, lag=1.5, silent=None)
    later = replace(replication, channels=(moved,), executed=gtids.parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9"))
    assert later.facts == replication.facts  # measurements alone
    assert replace(replication, channels=(replace(channel, applying=False),)).facts != replication.facts


def changed(**changes: Any) -> bytes:
    return json.dumps({**json.loads(write(ONE)), **changes}).encode()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (b"", "not JSON"),
        (b"[" * 20_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object of form 1"),
        (changed(form=2), "not an object of form 1"),
        (changed(addresses=[]), "wanted 1 to 8 IP addresses"),
        (changed(addresses=["db1.test"]), "wanted 1 to 8 IP addresses"),
        (changed(addresses=["fe80::1%eth0"]), "wanted 1 to 8 IP addresses"),
        (changed(addresses="192.0.2.1"), "addresses: wanted a list"),
        (changed(port=0), "wanted 1 to 65535"),
        (changed(port=True), "port: 'True' is no int"),
        (changed(weight=0), "weight 0"),
        (changed(priority=101), "priority 101"),
        (changed(outcome="fine"), "outcome: 'fine' is none of answered"),
        (changed(report={}), "report.uuid: is missing"),
        (changed(report=[]), "report: wanted an object"),
        (changed(detail="x" * VALUE_LIMIT), "bytes are more than"),
    ],
)
def test_what_cannot_be_read_is_named(value: bytes, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(value)
    assert complaint in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([each.name for each in fields(Lease)]), inner),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(fields(Lease)), JSON)
def test_nothing_but_a_value_error_is_raised(value: bytes, field: Any, other: Any) -> None:
    for each in (value, changed(**{field.name: other})):
        with contextlib.suppress(ValueError):
            assert isinstance(read(each), Lease)


def test_keys() -> None:
    key = key_of("/fairlead", "db.test", "m1")
    assert key == "/fairlead/db.test/m1"
    assert read_key("/fairlead", key) == ("db.test", "m1")
    for other in ("/fairlead/db.test", "/fairlead/db.test/M1", "/fairlead/db.test/ns", "/other/db.test/m1", key + "/x"):
        assert read_key("/fairlead", other) is None


def test_an_observation_of_it() -> None:
    seen = Lease(("192.0.2.1", "2001:db8::1"), 3306, None, Outcome.TIMEOUT, "slow").observation("m1.db.test", 5.0)
    assert (seen.member.classic, seen.member.x) == (Endpoint("192.0.2.1", 3306), None)
    assert (seen.taken_at, seen.outcome, seen.detail) == (5.0, Outcome.TIMEOUT, "slow")


def test_a_set_of_transactions_that_makes_a_key_too_long_is_left_out() -> None:
    """Of a server with very many gaps; without it the member would be skipped altogether."""
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    executed = gtids.parse(f"{uuid}:" + ":".join(f"{100000000 + n * 3}-{100000001 + n * 3}" for n in range(5000)))
    report = replace(PRIMARY, replication=Replication(executed=executed))
    told = read(write(replace(ONE, report=report))).report
    assert told is not None
    assert told.replication is not None
    assert told.replication.executed is None
    assert f"more than {VALUE_LIMIT}" in told.replication.not_told
    assert replace(told, replication=None) == replace(report, replication=None)
