"""What rounds come to: order, verdicts, tables, the picture, and what sysbench and the kernel say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.sandbox.errors import SandboxError
from bench.speed import plot, proxies, summary, usage
from bench.speed.cases import (
    DIRECT,
    HAPROXY,
    LARGE_BYTES,
    NEW_SESSIONS,
    OURS,
    ROUTER,
    TARGETS,
    Round,
    Workload,
    cases,
    orders,
)
from bench.speed.null_server import COM_PING, GREETING, LOGIN_OK, PING_OK
from bench.speed.openers import log_in, log_out, loop
from bench.speed.proxies import Discovery, Upstream
from bench.speed.sessions import Idle, idle_lines, most_sessions
from bench.speed.sysbench import percentile, read
from router import settings

CASE = "oltp_point_select/plain/8"
SAID = """
Running the test with following options:
Number of threads: 8

Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.100 |****************************************  50
       0.200 |***********************************       45
       0.900 |***                                       4
      12.000 |                                          1

SQL statistics:
    queries performed:
        read:                            90
        write:                           0
        other:                           10
        total:                           100
    transactions:                        100    (49.98 per sec.)
    queries:                             100    (49.98 per sec.)
    ignored errors:                      0      (0.00 per sec.)
    reconnects:                          0      (0.00 per sec.)

General statistics:
    total time:                          2.0007s
    total number of events:              100
"""
UPSTREAM = Upstream(("10.0.0.7", 3306), Discovery("a.test", "127.0.0.1:53", "probe", Path("/p")))


def one(variant: str, number: int, queries: int, cpu: float = 0.1, case: str = CASE, p99: float = 1.0) -> Round:
    return Round(case, variant, number, queries, 1.0, 0.2, 0.5, p99, cpu, 2**20, 0.0)


def rounds(ours: int, router: int, haproxy: int = 100) -> list[Round]:
    found = []
    for number in range(15):
        pace = 1 + number % 3  # what the machine gives, to all alike
        for variant, queries in ((DIRECT, 400), (OURS, ours), (ROUTER, router), (HAPROXY, haproxy)):
            found.append(one(variant, number, queries * pace, 0.0 if variant == DIRECT else 0.1))
    return found


def test_each_is_first_and_follows_each_alike() -> None:
    names = ["a", "b", "c", "d", "e"]
    found = list(orders(names, 20))
    assert all(sorted(order) == names for order in found)
    assert set(Counter(order[0] for order in found).values()) == {4}
    for left, right in combinations(names, 2):
        assert sum(order.index(left) < order.index(right) for order in found) == 10


def test_cases_are_chosen_by_words() -> None:
    assert len(cases()) == len(Workload) * 2 * 4
    assert [case.name for case in cases((1, 8), ["select/plain"])] == ["oltp_point_select/plain/1", CASE]


def test_verdicts() -> None:
    found = {verdict.target.words: verdict for verdict in summary.verdicts(rounds(120, 100))}
    assert len(found) == sum(not target.about_sessions for target in TARGETS)
    assert found["throughput ≥ 1.15 × mysqlrouter"].met
    assert found["throughput ≥ 1 × haproxy"].met
    assert not found["CPU per query ≤ 0.75 × mysqlrouter"].met
    assert found["CPU per query ≤ 0.75 × mysqlrouter"].found.mean == pytest.approx(1 / 1.2)
    assert not next(summary.verdicts(rounds(114, 100))).met


def test_what_was_not_measured_has_no_verdict() -> None:
    only = [each for each in rounds(120, 100) if each.variant in (DIRECT, OURS)]
    assert list(summary.verdicts(only)) == []
    assert summary.closing(only) == [""]


def test_rounds_without_their_pair_are_left_out() -> None:
    found = [each for each in rounds(120, 100) if (each.variant, each.number) != (ROUTER, 3)]
    assert [first.number for first, _ in summary.pairs(found, CASE, OURS, ROUTER)] == [0, 1, 2, *range(4, 15)]


def test_new_sessions_have_a_target_of_their_own() -> None:
    case = f"{NEW_SESSIONS}/plain/8"
    found = [one(name, number, queries, case=case) for number in range(5) for name, queries in ((OURS, 9), (ROUTER, 9))]
    [verdict] = summary.verdicts(found)
    assert (verdict.target.about_sessions, verdict.met) == (True, True)


def test_tables() -> None:
    found = rounds(120, 100)
    text = summary.terminal(found)
    assert re.search(r"fairlead +15 +240 +0\.30 \(0\.30 to 0\.30\)", text)
    assert f"MISSED  {CASE}: CPU per query" in text
    document = summary.markdown(found, ["Said before."])
    rows = [line for line in document.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert {row.count("|") for row in rows} == {len(summary.COLUMNS) + 1}
    assert "throughput ≥ 1.15 × mysqlrouter: met in all 1 cases" in document


def test_rounds_are_read_back() -> None:
    found = rounds(120, 100)
    assert summary.decode(summary.encode(found)) == found
    with pytest.raises(ValueError):
        summary.decode('[{"case": "x"}]')


def test_the_picture_is_one() -> None:
    found = [*rounds(120, 100), one(OURS, 0, 7, case="a<b")]
    root = ElementTree.fromstring(plot.draw(found))  # noqa: S314 - our own text
    circles = root.findall("{*}circle")
    # The legend, a dot for each proxy in each panel; the odd case has nothing to be set against.
    assert len(circles) == len(plot.COLOURS) + 3 + 3
    assert all(0 <= float(circle.get("cx", "")) <= plot.WIDTH for circle in circles)
    assert ElementTree.fromstring(plot.draw([])).tag.endswith("svg")  # noqa: S314 - our own text


def test_sysbench_is_understood() -> None:
    said = read(SAID)
    assert (said.queries, said.errors, said.seconds) == (100, 0, 2.0007)
    assert (said.p50, said.p95, said.p99) == (0.1, 0.2, 0.9)
    assert read(SAID.replace("ignored errors:                      0", "ignored errors:   3")).errors == 3


def test_sysbench_that_says_something_else_is_not() -> None:
    with pytest.raises(SandboxError, match="no latency histogram"):
        read("FATAL: unable to connect")
    with pytest.raises(SandboxError, match="says nothing of 'total:"):
        read(SAID.replace("total:  ", "sum:"))


def test_percentiles() -> None:
    assert [percentile([(1.0, 1), (2.0, 0), (3.0, 1)], share) for share in (0.0, 0.5, 0.51, 1.0)] == [1, 1, 3, 3]


def test_our_configuration_is_valid() -> None:
    parsed = settings.parse(tomllib.loads(proxies.fairlead_text(UPSTREAM, 1234, 1235, 1)))
    assert [route.listen.port for route in parsed.routes.values()] == [1234]


def test_all_proxies_lead_to_the_server() -> None:
    assert "destinations = 10.0.0.7:3306" in proxies.mysqlrouter_text(UPSTREAM, 1)
    assert "server one 10.0.0.7:3306" in proxies.haproxy_text(UPSTREAM, 1)


def test_processor_time_and_memory_of_a_family() -> None:
    script = "import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = usage.family(process.pid)
        assert (len(found), found[0]) == (2, process.pid)
        assert usage.own_bytes(found) > usage.own_bytes([process.pid]) > 2**20
        process.communicate(b"\n")
    assert usage.cpu_seconds([process.pid]) == 0
    before, busy = usage.cpu_seconds([os.getpid()]), usage.busy_seconds()
    while usage.cpu_seconds([os.getpid()]) < before + 0.05:
        pass
    assert usage.busy_seconds() >= busy + 0.04


def test_a_session_of_the_null_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.null_server", str(listener.fileno())], pass_fds=[listener.fileno()]
        )
        try:
            address = listener.getsockname()
            assert proxies.greets(address)
            with log_in(address) as sock:
                sock.sendall(COM_PING)
                assert sock.recv(100) == PING_OK
                log_out(sock)
            assert len(loop(address, 0.05)) > 3
        finally:
            process.terminate()
            assert process.wait(10) == 0
    assert (GREETING[4], LOGIN_OK[3]) == (10, 2)


def test_an_error_packet_is_no_greeting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with listener.accept()[0] as sock:
                sock.sendall(b"\x05\x00\x00\x00\xff\x10\x04no")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ConnectionError, match="no greeting"):
            log_in(listener.getsockname())
        thread.join()
    assert not proxies.greets(("127.0.0.1", proxies.free_port()))


def test_sessions_that_wait() -> None:
    found = [Idle(OURS, 100, 23 * 1024, 0, 8192), Idle(ROUTER, 100, 60 * 1024, 0, 8192)]
    ours, router = idle_lines(found, 24 * 1024, OURS)
    assert "23.0 KiB" in ours
    assert ours.endswith("met")
    assert "met" not in router.lower()
    [missed] = idle_lines([Idle(OURS, 100, 25 * 1024, 0, 8192)], 24 * 1024, OURS)
    assert missed.endswith("MISSED")
    assert 100 <= most_sessions(10_000) <= 10_000


def test_the_large_result_is_one_row() -> None:
    from bench.speed.sysbench import LARGE

    assert str(LARGE_BYTES) in LARGE
