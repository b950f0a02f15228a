"""The screen of `fairlead top`."""

from __future__ import annotations

from router.screen import Look, draw

ROUTE = {
    "name": "rw",
    "listen": "127.0.0.1:6446",
    "destination": "PRIMARY",
    "cluster": "main",
    "sessions": 2,
    "parked": 1,
    "by_member": {"mysql-0": 1},
    "accepted_total": 10,
    "refused_total": 0,
    "cut_total": 0,
    "bytes_in_total": 0,
    "bytes_out_total": 0,
}
MEMBER = {
    "name": "mysql-0",
    "classic": None,
    "role": "PRIMARY",
    "state": "ONLINE",
    "offered": "PRIMARY",
    "mode": None,
    "transactions_queued": 0,
    "lag_seconds": None,
    "reason": "bad \x1b[2J name",
}
EVENTS = [{"id": n, "time": "2020-01-01T12:34:56.000000Z", "kind": "role", "text": f"event {n}"} for n in range(1, 41)]
WORKER = {
    "serial": 1,
    "pid": 4711,
    "state": "serving",
    "sessions": 2,
    "loop_lag_seconds": 0.0012,
    "resident_bytes": 20 << 20,
    "age_seconds": 3.0,
}


def look(at: float, **route: int) -> Look:
    cluster = {"trust": "quorum", "reason": "", "members": [MEMBER]}
    documents = {
        "clusters": {"main": cluster},
        "routes": [{**ROUTE, **route}],
        "workers": [WORKER],
        "events": EVENTS,
    }
    return Look(at, documents)


def test_rates_are_of_the_time_between_two_looks() -> None:
    text = draw(look(12.0, accepted_total=30, bytes_out_total=4 << 20), look(10.0), width=200, height=100, styled=False)
    assert text.splitlines()[0] == "fairlead: 2 sessions, 1 parked, 10.0 new/s, 0 B/s in, 2.0 MiB/s out"
    assert "1.2 ms  20.0 MiB  3 s" in text
    assert "12:34:56  role             event 40" in text
    assert "event 28\n" not in text
    started_again = draw(look(12.0, accepted_total=1), look(10.0), width=200, height=100, styled=False)
    assert "0.0 new/s" in started_again


def test_it_fits_and_nothing_in_it_moves_the_cursor() -> None:
    text = draw(look(2.0), look(1.0), width=40, height=12, styled=False)
    assert len(text.splitlines()) == 11
    assert max(map(len, text.splitlines())) <= 40
    assert "\x1b" not in draw(look(2.0), look(1.0), width=200, height=100, styled=False)
