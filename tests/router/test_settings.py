"""Configuration: what is accepted, and the words for what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.members import Endpoint
from router.routes import route_of
from router.settings import SettingsError, load, parse
from router.words import Destination, Protocol, StrategyName

CLUSTER = {"main": {"srv": "db.example.com"}}
ROUTE = {"listen": "127.0.0.1:6446", "protocol": "classic", "destination": "PRIMARY"}


def test_an_srv_name_is_enough() -> None:
    settings = parse({"clusters": CLUSTER})
    assert {
        name: (route.listen.port, route.protocol, route.destination) for name, route in settings.routes.items()
    } == {
        "classic_rw": (6446, Protocol.CLASSIC, Destination.PRIMARY),
        "classic_ro": (6447, Protocol.CLASSIC, Destination.SECONDARY),
        "x_rw": (6448, Protocol.X, Destination.PRIMARY),
        "x_ro": (6449, Protocol.X, Destination.SECONDARY),
    }
    assert all(route.listen.host == "127.0.0.1" for route in settings.routes.values())
    assert settings.admin.listen == Endpoint("127.0.0.1", 8443)
    strategies = {
        name: route_of(name, chosen, settings.clusters["main"]).strategy for name, chosen in settings.routes.items()
    }
    assert strategies["classic_rw"] is StrategyName.FIRST_AVAILABLE
    assert strategies["classic_ro"] is StrategyName.ROUND_ROBIN


@pytest.mark.parametrize("name", ["DB.example.com", "_mysql._tcp.db.example.com", "_mysqlx._tcp.db.example.com"])
def test_a_clusters_name_may_be_written_in_several_ways(name: str) -> None:
    assert parse({"clusters": {"main": {"srv": name}}}).clusters["main"].srv == "db.example.com"
    assert parse({"clusters": {"main": {"srv": f"{name}."}}}).clusters["main"].srv == "db.example.com."


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "clusters: is missing"),
        ({"clusters": {}}, "clusters: {}: "),
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
        ({"clusters": {"main": {"srv": "a.b", "probe_user": "x\0"}}}, "clusters.main.probe_user: must not contain"),
        ({"clusters": {"a": {"srv": "a.b"}, "b": {"srv": "b.b"}}}, "routes: with several clusters"),
        ({"clusters": 3}, "clusters: 3: must be a table"),
        ({"clusters": {"main": 3}}, "clusters.main: 3: must be a table"),
        ({"clusters": CLUSTER, "admin": "x"}, "admin: 'x': must be a table"),
        ({"clusters": CLUSTER, "routes": []}, "routes: []: must be a table"),
        ({"clusters": CLUSTER, "routes": {}}, "routes: at least one route is needed"),
        ({"clusters": CLUSTER, "route": {}}, "route: no such option; did you mean routes?"),
    ],
)
def test_an_error_names_the_key_and_what_would_be_right(document: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(document)
    assert any(line.startswith(words) for line in str(caught.value).splitlines()), str(caught.value)


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
