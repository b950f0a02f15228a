"""What is made of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.access import Access
from cluster.flavours import Flavour
from srv.agent import Settings as AgentSettings
from srv.assembly import assemble, make_agent, open_etcd
from srv.leased import LeasedClusters
from srv.probed import ProbedGroup
from srv.publication import parse_known
from srv.settings import EtcdTable, Settings, parse
from xproto.session import Login
from xproto.tls import TlsMode

CLUSTER = {"domain": "orders.test", "flavour": "galera"}


def test_a_cluster_is_judged_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_PROBE_PASSWORD", "x")
    group = {**CLUSTER, "source": "group", "members": ["m1=192.0.2.1/0"], "probe_user": "probe", "interval": 5.0}
    leased = {**CLUSTER, "source": "etcd", "domain": "parts.test"}
    etcd = {"main": {"endpoints": ["http://127.0.0.1:1"]}}
    controller = assemble(parse(Settings, {"etcd": etcd, "clusters": {"a": group, "b": leased}}))
    probed, keys = controller._sources
    assert isinstance(probed, ProbedGroup)
    assert isinstance(keys, LeasedClusters)
    assert probed._watch._policy.max_age == 10.0  # or each look would be too old before the next
    assert probed._watch._policy.flavour is keys._clusters["parts.test"].settings.policy.flavour is Flavour.GALERA


def test_an_agent_tells_of_looks_as_long_as_they_count() -> None:
    member = parse_known("m1=192.0.2.1")
    settings = AgentSettings("db.test", member, member.member("db.test"), "/f")
    access = Access(Login("probe", "x"), TlsMode.DISABLED, None)
    agent = make_agent(settings, open_etcd("etcd", EtcdTable(endpoints=("http://127.0.0.1:1",))), access, 5.0)
    assert agent._settings.tell_within == agent._watch._policy.max_age == 10.0


def test_a_password_that_goes_in_clear_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "password").write_text("secret\n")
    table = EtcdTable(endpoints=("http://127.0.0.1:1",), user="u", password_file=tmp_path / "password")
    open_etcd("etcd.main", table)
    assert "etcd-in-clear table=etcd.main" in caplog.text
    assert "secret" not in caplog.text
