"""What a reload does, as the difference of two configurations says it."""

from __future__ import annotations

from typing import Any

from router.changes import compare
from router.settings import Settings, parse


def settings(**changed: Any) -> Settings:
    document: dict[str, Any] = {
        "clusters": {"a": {"srv": "a.test"}, "b": {"srv": "b.test"}},
        "routes": {
            "rw": {"listen": "127.0.0.1:1", "protocol": "classic", "destination": "PRIMARY", "cluster": "a"},
            "ro": {"listen": "127.0.0.1:2", "protocol": "classic", "destination": "SECONDARY", "cluster": "b"},
        },
    }
    for path, value in changed.items():
        place, keys = document, path.split("__")
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value
    return parse(document)


def test_the_same_is_no_change() -> None:
    assert compare(settings(), settings()).lines() == []


def test_limits_change_in_place_and_addresses_move() -> None:
    changes = compare(settings(), settings(routes__rw__parking_limit=5, routes__ro__listen="127.0.0.1:3"))
    assert changes.routes_changed == {"rw": ("parking_limit 1024 -> 5",)}
    assert changes.routes_moved == {"ro": ("listen 127.0.0.1:2 -> 127.0.0.1:3",)}
    assert changes.lines() == [
        "route ro: listen 127.0.0.1:2 -> 127.0.0.1:3; its sessions drain",
        "route rw: parking_limit 1024 -> 5",
    ]


def test_permissions_are_spelt_as_they_are_written() -> None:
    changes = compare(settings(), settings(routes__rw__socket_mode="0600"))
    assert changes.routes_changed == {"rw": ("socket_mode 0666 -> 0600",)}


def test_what_comes_and_goes_is_named() -> None:
    more = {"listen": "127.0.0.1:3", "protocol": "x", "destination": "PRIMARY", "cluster": "a"}
    changes = compare(settings(), settings(routes__ro=None, routes__x=more, clusters__b=None, clusters__c={"srv": "c"}))
    assert changes.lines() == [
        "cluster c added",
        "cluster b removed",
        "route x added",
        "route ro removed; its sessions drain",
    ]


def test_clusters_and_the_top_level_are_compared() -> None:
    changes = compare(settings(), settings(clusters__a__poll_interval=2.0, workers=3, clusters__a__resolvers=["::1"]))
    assert changes.lines() == ["cluster a: resolvers [] -> [[::1]:53], poll_interval 0.5 -> 2.0", "workers 1 -> 3"]


def test_a_cluster_that_is_named_now_was_meant_before() -> None:
    one = {"clusters__b": None, "routes__ro__cluster": "a"}
    assert compare(settings(**one), settings(**one, routes__rw__cluster="")).lines() == []


def test_the_listener_for_people_is_refused() -> None:
    assert compare(settings(), settings(admin__enabled=False)).refused == ("admin.enabled",)


def test_of_a_table_the_options_are_told() -> None:
    assert compare(settings(), settings(log={"format": "json"})).lines() == ["log.format text -> json"]
