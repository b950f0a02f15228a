"""Configuration: what is accepted, and the words for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.members import Endpoint
from router.addresses import UnixPath
from router.routes import Limits, Wire
from router.settings import SettingsError, load, parse
from router.words import Destination, Protocol, StrategyName

CLUSTER = {"main": {"srv": "db.example.com"}}
ROUTE = {"listen": "127.0.0.1:6446", "protocol": "classic", "destination": "PRIMARY"}
READS = {**ROUTE, "destination": "SECONDARY"}


def test_an_srv_name_is_enough() -> None:
    settings = parse({"clusters": CLUSTER})
    assert {
        name: (str(route.listen), route.protocol, route.destination) for name, route in settings.routes.items()
    } == {
        "classic_rw": ("127.0.0.1:6446", Protocol.CLASSIC, Destination.PRIMARY),
        "classic_ro": ("127.0.0.1:6447", Protocol.CLASSIC, Destination.SECONDARY),
        "x_rw": ("127.0.0.1:6448", Protocol.X, Destination.PRIMARY),
        "x_ro": ("127.0.0.1:6449", Protocol.X, Destination.SECONDARY),
    }
    assert settings.admin.listen == Endpoint("127.0.0.1", 8443)
    strategies = {name: settings.route(name).strategy for name in settings.routes}
    assert strategies["classic_rw"] is StrategyName.LEAST_CONNECTIONS
    assert strategies["classic_ro"] is StrategyName.ROUND_ROBIN_WITH_FALLBACK


@pytest.mark.parametrize("name", ["DB.example.com", "_mysql._tcp.db.example.com", "_mysqlx._tcp.db.example.com"])
def test_a_clusters_name_may_be_written_in_several_ways(name: str) -> None:
    assert parse({"clusters": {"main": {"srv": name}}}).clusters["main"].srv == "db.example.com"
    assert parse({"clusters": {"main": {"srv": f"{name}."}}}).clusters["main"].srv == "db.example.com."


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "clusters: is missing"),
        ({"clusters": {}}, "clusters: is missing, and route classic_rw has no members of its own"),
        ({"clusters": {"main": {}}}, "clusters.main.srv: is missing"),
        ({"clusters": {"main": {"srv": "a..b"}}}, "clusters.main.srv: 'a..b' is not a domain name"),
        (
            {"clusters": {"main": {"srv": "a.b", "probe_usr": "x"}}},
            "clusters.main.probe_usr: no such option; did you mean probe_user?",
        ),
        (
            {"clusters": {"main": {"srv": "a.b", "poll_interval": "often"}}},
            "clusters.main.poll_interval: 'often': must be a number",
        ),
        (
            {"clusters": {"main": {"srv": "a.b", "poll_interval": 0}}},
            "clusters.main.poll_interval: 0: must be greater than or equal to 0.05",
        ),
        (
            {"clusters": {"main": {"srv": "a.b", "dns_ttl_floor": 9, "dns_ttl_ceiling": 5}}},
            "clusters.main.dns_ttl_floor: 9 is above dns_ttl_ceiling, 5; the floor must not be above the ceiling",
        ),
        (
            {"clusters": {"main": {"srv": "a.b", "dns_attempts": 0}}},
            "clusters.main.dns_attempts: 0: must be greater than or equal to 1",
        ),
        (
            {"clusters": {"main": {"srv": "a.b", "resolvers": ["ns1"]}}},
            "clusters.main.resolvers.0: wanted an IP address, and 'ns1' is none",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "listen": "127.0.0.1"}}},
            "routes.rw.listen: '127.0.0.1': the port is missing",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "listen": "127.0.0.1:99999"}}},
            "routes.rw.listen: '127.0.0.1:99999': the port must be",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "protocol": "mysql"}}},
            "routes.rw.protocol: 'mysql': must be one of 'classic' or 'x'",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "cluster": "other"}}},
            "routes.rw.cluster: 'other' is not one of main",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "fallback_to_primary": True}}},
            "routes.rw.fallback_to_primary: only a route",
        ),
        (
            {"clusters": CLUSTER, "routes": {"a": ROUTE, "b": ROUTE}},
            "routes.b.listen: 127.0.0.1:6446 is already the address of route a",
        ),
        (
            {"clusters": CLUSTER, "admin": {"listen": "127.0.0.1:6446"}},
            "admin.listen: 127.0.0.1:6446 is the address of route classic_rw",
        ),
        ({"clusters": {"main": {"srv": "exa mple.com"}}}, "clusters.main.srv: 'exa mple.com' is not a domain name"),
        ({"clusters": {"main": {"srv": "bücher.example"}}}, "clusters.main.srv: 'bücher.example' is not a domain name"),
        (
            {"routes": {"one": {"listen": "127.0.0.1:1", "protocol": "x", "members": ["a..b"]}}},
            "routes.one.members.0: 'a..b' is not a name",
        ),
        (
            {"routes": {"one": {"listen": "127.0.0.1:1", "protocol": "x", "members": ["db", "db:33060"]}}},
            "routes.one.members: one of them stands there twice",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "members": ["db"]}}},
            "routes.rw.destination: goes with a cluster, and this route has members",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {"listen": "127.0.0.1:1", "protocol": "x"}}},
            "routes.rw.destination: is missing; write one of PRIMARY, SECONDARY, PRIMARY_AND_SECONDARY",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "listen": "unix:rw.sock"}}},
            "routes.rw.listen: 'unix:rw.sock': after unix: an absolute path of at most 107 bytes",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "socket_mode": "rw"}}},
            "routes.rw.socket_mode: 'rw': wanted the permissions as a text of three octal digits",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "dual_stack": True}}},
            "routes.rw.dual_stack: needs a route that listens on [::]",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "strategy": "round-robin-with-fallback"}}},
            "routes.rw.strategy: only a route with destination SECONDARY can fall back; write round-robin",
        ),
        (
            {
                "clusters": CLUSTER,
                "routes": {"ro": {**READS, "strategy": "round-robin-with-fallback", "fallback_to_primary": False}},
            },
            "routes.ro.fallback_to_primary: contradicts the strategy",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "rebalance": True}}},
            "routes.rw.rebalance: is for routes to the SECONDARY members",
        ),
        (
            {"clusters": CLUSTER, "routes": {"ro": {**READS, "strategy": "first-available", "rebalance": True}}},
            "routes.ro.rebalance: goes with no first-available",
        ),
        (
            {"clusters": CLUSTER, "routes": {"ro": {**READS, "strategy": "next-available", "rebalance": True}}},
            "routes.ro.rebalance: goes with no next-available",
        ),
        (
            {
                "clusters": CLUSTER,
                "routes": {"a": {**ROUTE, "listen": "[::1]:7"}, "b": {**ROUTE, "listen": "[0:0::1]:7"}},
            },
            "routes.b.listen: [::1]:7 is already the address of route a",
        ),
        (
            {"routes": {"one": {"listen": "127.0.0.1:1", "protocol": "x", "members": ["[::1]", "[0::1]"]}}},
            "routes.one.members: one of them stands there twice",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "proxy_protocol": True}}},
            "routes.rw.proxy_networks: name the networks of the proxies that are to be believed",
        ),
        (
            {
                "clusters": CLUSTER,
                "routes": {"rw": {**ROUTE, "proxy_protocol": True, "proxy_networks": ["10.0.0.1/8"]}},
            },
            "routes.rw.proxy_networks.0: '10.0.0.1/8' is not a network",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "send_proxy_protocol": "v3"}}},
            "routes.rw.send_proxy_protocol: 'v3': must be one of 'off', 'v1' or 'v2'",
        ),
        (
            {"clusters": CLUSTER, "routes": {"rw": {**ROUTE, "disconnect_on_promoted_to_primary": True}}},
            "routes.rw.disconnect_on_promoted_to_primary: is for routes to the SECONDARY members",
        ),
        ({"clusters": {"main": {"srv": "a.b", "probe_user": "x\0"}}}, "clusters.main.probe_user: must not contain"),
        ({"clusters": {"a": {"srv": "a.b"}, "b": {"srv": "b.b"}}}, "routes: with several clusters"),
        ({"clusters": 3}, "clusters: 3: must be a table"),
        ({"clusters": {"main": 3}}, "clusters.main: 3: must be a table"),
        ({"clusters": CLUSTER, "admin": "x"}, "admin: 'x': must be a table"),
        (
            {"clusters": CLUSTER, "routes": {"rw": ROUTE}, "admin": {"metrics_listen": ROUTE["listen"]}},
            f"admin.metrics_listen: {ROUTE['listen']} is the address of route rw",
        ),
        ({"clusters": CLUSTER, "routes": []}, "routes: []: must be a table"),
        ({"clusters": CLUSTER, "routes": {}}, "routes: at least one route is needed"),
        ({"clusters": CLUSTER, "route": {}}, "route: no such option; did you mean routes?"),
    ],
)
def test_an_error_names_the_key_and_what_would_be_right(document: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(document)
    assert any(line.startswith(words) for line in str(caught.value).splitlines()), str(caught.value)


@pytest.mark.parametrize(
    ("options", "strategy", "falls_back"),
    [
        ({}, StrategyName.ROUND_ROBIN_WITH_FALLBACK, True),
        ({"fallback_to_primary": True}, StrategyName.ROUND_ROBIN_WITH_FALLBACK, True),
        ({"fallback_to_primary": False}, StrategyName.ROUND_ROBIN, False),
        ({"strategy": "round-robin"}, StrategyName.ROUND_ROBIN, False),
        ({"strategy": "round-robin-with-fallback"}, StrategyName.ROUND_ROBIN_WITH_FALLBACK, True),
        ({"strategy": "weighted", "fallback_to_primary": True}, StrategyName.WEIGHTED, True),
    ],
)
def test_there_is_one_fallback_whichever_way_it_is_said(
    options: dict[str, Any], strategy: StrategyName, falls_back: bool
) -> None:
    route = parse({"clusters": CLUSTER, "routes": {"ro": {**READS, **options}}}).route("ro")
    assert (route.strategy, route.fallback_to_primary) == (strategy, falls_back)


def test_a_list_of_servers_needs_no_cluster() -> None:
    settings = parse(
        {"routes": {"one": {"listen": "unix:/run/x.sock", "protocol": "classic", "members": ["DB.test", "[::1]:3307"]}}}
    )
    assert settings.routes["one"].listen == UnixPath("/run/x.sock")
    assert settings.cluster_of(settings.routes["one"]) == ""
    route = settings.route("one")
    assert route.members == (Endpoint("db.test", 3306), Endpoint("::1", 3307))
    assert (route.strategy, route.fallback_to_primary) == (StrategyName.FIRST_AVAILABLE, False)
    assert route.limits.max_total_connections == settings.max_total_connections


def test_defaults_are_said_once() -> None:
    route = parse({"clusters": CLUSTER, "routes": {"rw": ROUTE}}).route("rw")
    assert (route.limits, route.wire) == (Limits(max_total_connections=20_000), Wire())


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"clusters": {"main": {"srv": "a.b", "poll_interval": "x", "probe_timeout": "y"}}})
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=r"missing\.toml: No such file"):
        load(missing)
    broken = tmp_path / "broken.toml"
    broken.write_text("[clusters\n")
    with pytest.raises(SettingsError, match=r"broken\.toml: not valid TOML"):
        load(broken)
