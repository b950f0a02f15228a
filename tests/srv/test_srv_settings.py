"""The publisher's configuration."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cluster.evidence import LagLimits, LagPolicy, Policy, QuorumPolicy
from cluster.flavours import Flavour
from cluster.members import Endpoint
from srv.policies import max_age_of
from srv.settings import DocumentError, FileTable, GroupTable, LeasedTable, Settings, load, parse

GROUP = """
[clusters.orders]
source = "group"
domain = "Orders.Test."
members = ["m1=192.0.2.1", "m2=db2.test:3307/33070"]
probe_user = "probe"
"""
ETCD = """
[etcd.main]
endpoints = ["http://192.0.2.3:2379/"]
[clusters.parts]
source = "etcd"
domain = "parts.test"
"""
FILE = """
[clusters.listed]
source = "file"
path = "/etc/listing.toml"
"""


def read(text: str) -> Settings:
    return parse(Settings, tomllib.loads(text))


def test_a_whole_configuration() -> None:
    secondaries = 'transfer_to = ["192.0.2.0/24", "::1"]\nnotify = ["192.0.2.54", "[::1]:5353"]\n'
    settings = read('[server]\nlisten = ["192.0.2.53:53"]\n' + secondaries + GROUP + ETCD + FILE)
    orders, parts, listed = (settings.clusters[name] for name in ("orders", "parts", "listed"))
    assert settings.server.listen == (Endpoint("192.0.2.53", 53),)
    assert settings.server.transfer_to == ("192.0.2.0/24", "::1/128")
    assert settings.server.notify == (Endpoint("192.0.2.54", 53), Endpoint("::1", 5353))
    assert isinstance(orders, GroupTable)
    assert (orders.domain, orders.ttl, orders.interval, orders.keep_roles) == ("orders.test", 5, 0.5, 30.0)
    assert [(one.label, one.host, one.classic_port) for one in orders.members] == [
        ("m1", "192.0.2.1", 3306),
        ("m2", "db2.test", 3307),
    ]
    assert isinstance(parts, LeasedTable)
    assert settings.etcd_of(parts) == "main"
    assert settings.etcd["main"].endpoints == ("http://192.0.2.3:2379",)
    assert settings.etcd["main"].prefix == "/fairlead"
    assert isinstance(listed, FileTable)


def test_how_a_cluster_is_judged_is_said_as_in_the_router() -> None:
    keys = 'flavour = "galera"\nquorum_policy = "read"\nlag_limit = 0\nlag_limit_transactions = 9\nlag_policy = "all"\n'
    settings = read(GROUP.replace("m1=192.0.2.1", "m1=192.0.2.1:3306/0") + keys + ETCD + keys)
    wanted = Policy(7.0, Flavour.GALERA, QuorumPolicy.READ, LagLimits(None, 9, when_all=LagPolicy.ALL))
    orders, parts = (settings.clusters[name] for name in ("orders", "parts"))
    assert isinstance(orders, GroupTable)
    assert isinstance(parts, LeasedTable)
    assert orders.judging(7.0) == parts.judging(7.0) == wanted
    assert orders.members[0].x_port is None
    plain = read(GROUP).clusters["orders"]
    assert isinstance(plain, GroupTable)
    assert plain.judging(Policy().max_age) == Policy()
    with pytest.raises(DocumentError, match=r"clusters\.parts\.lag_policy: 'x': must be one of"):
        read(ETCD + 'lag_policy = "x"')


def test_an_observation_counts_for_two_looks() -> None:
    assert max_age_of(1.5, 0.5) == Policy().max_age
    assert max_age_of(1.5, 60.0) == 120.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "clusters: is missing, and has no default"),
        ("[clusters]", "clusters: {}: needs at least one entry"),
        (GROUP.replace("m2=", "m1="), "clusters.orders: two members are labelled 'm1'"),
        (GROUP.replace('"m1=192.0.2.1"', '"m1"'), "clusters.orders.members.0: 'm1': wanted NAME=HOST"),
        (GROUP.replace("Orders.Test.", "d" * 64), "clusters.orders.domain: "),
        (GROUP + 'probe_tls = "on"', "clusters.orders.probe_tls: 'on': must be one of 'disabled', 'preferred'"),
        (GROUP + "ttl = 0", "clusters.orders.ttl: 0: must be greater than or equal to 1"),
        (GROUP + "keep_roles = inf", "clusters.orders.keep_roles: inf: must be"),
        (GROUP + "keep_role = 1", "clusters.orders.keep_role: no such option; did you mean keep_roles?"),
        (GROUP + ETCD.replace("parts.test", "orders.test"), "clusters.parts.domain: orders.test is already that of"),
        (ETCD.partition("[clusters")[0], "clusters: is missing"),
        ("[clusters" + ETCD.partition("[clusters")[2], "clusters.parts.source: etcd needs an [etcd.NAME] table"),
        (ETCD + 'etcd = "other"', "clusters.parts.etcd: 'other' is not one of main"),
        (ETCD + '[etcd.other]\nendpoints = ["http://x:1"]', "clusters.parts.etcd: must be one of main, other"),
        (ETCD.replace("http:", "https:"), "etcd.main.tls_ca: is missing"),
        (ETCD.replace("http:", "ftp:"), "etcd.main.endpoints.0: 'ftp://192.0.2.3:2379/': wanted http://HOST:PORT"),
        (ETCD.replace("2379/", "2379/v3"), "wanted http://HOST:PORT"),
        (ETCD.replace('"]', '", "https://x:1"]'), "etcd.main.endpoints: all must be http, or all https"),
        (ETCD.replace('"]', '"]\nuser = "u"'), "etcd.main.password_file: user and password_file belong together"),
        (ETCD.replace('"]', '"]\ntls_ca = "x"'), "etcd.main.endpoints: with TLS files they must begin with https://"),
        (ETCD.replace('"]', '"]\nprefix = "x/"'), "etcd.main.prefix: 'x/': wanted a path like"),
        (FILE + "[server]\nlisten = []", "server.listen: is empty, and there is no [updates]"),
        (FILE + '[server]\nlisten = ["0.0.0.0:53"]', "server.listen: 0.0.0.0:53: name the address that clients ask"),
        (FILE + '[server]\ntransfer_to = ["192.0.2.1/24"]', "server.transfer_to.0: '192.0.2.1/24'"),
        (FILE + '[server]\nnotify = ["ns2.test"]', "server.notify.0: wanted an IP address, and 'ns2.test' is none"),
        (FILE + '[server]\nlisten = ["::1"]', "server.listen.0: '::1': the port is missing"),
        (FILE + '[server]\nlisten = ["ns.test:53"]', "wanted an IP address, and 'ns.test' is none"),
        (FILE + '[server]\nlisten = ["[::1]:53", "[::1]:53"]', "server.listen: one address is given twice"),
    ],
)
def test_what_is_wrong_is_named(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(text)
    assert complaint in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        load(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff")
    with pytest.raises(DocumentError, match="not valid TOML"):
        load(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text(GROUP)
    assert load(tmp_path / "x.toml").clusters.keys() == {"orders"}
