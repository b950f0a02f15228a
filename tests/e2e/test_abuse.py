"""What clients and members may do to a router, by the hundred: at a bounded cost, and nothing is left of it."""

from __future__ import annotations

import hashlib
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from bench.demo.drivers import Account, BlockingConnection
from bench.sandbox.sandbox import Sandbox
from bench.soak.record import MAIN, Sample
from tests.e2e.lone_server import free_port
from tests.e2e.mariadb_server import MariaDb
from tests.e2e.running import PATIENCE, Running, router, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

WORKERS = 2
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)
ERR, GREETING = 0xFF, 10  # the first byte of what a client hears
COM_QUERY = b"\x03"
DIGEST = hashlib.sha512(b"soak").hexdigest().encode()
SMALL_RESULT, LARGE_RESULT = 2 * MIB, 12 * MIB  # bytes; the large one is more than any kernel buffer on its way
LEFT_BEHIND = 4 * MIB
"""Memory that both workers may keep of hundreds of sessions that are gone: what their allocators hold on to."""
BUFFERS = (64 + 256) << 10
"""Bytes that a session may hold for one end that does not read: the router's own limit."""


@pytest.fixture(scope="module")
def mariadb(possible: None, peers: Path) -> Iterator[MariaDb]:
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        server = MariaDb(peers, Path(name) / "m")
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def abused(directory: Path, routes: Mapping[str, Mapping[str, object]]) -> Iterator[Running]:
    """A router of two workers that must be as it was once all clients are gone."""
    with router(directory, routes, f"workers = {WORKERS}") as running:
        until(lambda: len(running.look()) == 1 + WORKERS, "all workers serve")
        before = running.look()
        yield running
        until(lambda: not running.get("/api/v1/sessions")["total"], "no session is left")
        try:
            until(lambda: not more_than(before, running.look()), "what they had open is closed")
        except AssertionError as late:
            raise AssertionError(more_than(before, running.look())) from late
        assert running.unaccounted() == 0


def more_than(before: Sequence[Sample], now: Sequence[Sample]) -> list[str]:
    """Which workers have more open, or to do, than they had."""
    at_first = {one.process: one for one in before}
    return [
        f"{one.process}: {what} {getattr(at_first[one.process], what)} -> {getattr(one, what)}"
        for one in now
        for what in ("descriptors", "threads", "tasks")
        if not one.process.startswith(MAIN) and getattr(one, what) > getattr(at_first[one.process], what)
    ]


def own_memory(running: Running) -> int:
    """What the workers have, beside files that they share."""
    return sum(one.own for one in running.look() if not one.process.startswith(MAIN))


def packet(payload: bytes, sequence: int = 0) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def first_word(sock: socket.socket) -> int:
    """The first byte of the first packet: a greeting or an error; -1 where there is none."""
    data = b""
    while len(data) < 5:
        more = sock.recv(5 - len(data))
        if not more:
            return -1
        data += more
    return data[4]


def log_in(port: int) -> Any:
    return pymysql.connect(host="127.0.0.1", port=port, user="app", password="app-secret", connect_timeout=10)


def question(size: int = SMALL_RESULT) -> bytes:
    """A query with so many bytes of result."""
    return packet(COM_QUERY + b"SELECT REPEAT(SHA2('soak', 512), %d)" % (size // len(DIGEST)))


def is_exact(data: bytes | bytearray, size: int = SMALL_RESULT) -> bool:
    """Whether it is the whole of such a result."""
    return DIGEST * (size // len(DIGEST)) in data


def read_result(sock: socket.socket, size: int, piece: int, pause: Callable[[], object]) -> bytearray:
    """Read a result, to the EOF packet that ends it (manual, "Text Resultset")."""
    data = bytearray()
    while len(data) < size or data[-9:-4] != b"\x05\x00\x00\x05\xfe":
        more = sock.recv(piece)
        assert more, f"the end after {len(data)} bytes"
        data += more
        pause()
    return data


def test_slow_readers_get_every_byte_and_delay_nobody(mariadb: MariaDb, tmp_path: Path) -> None:
    port, readers, pause = free_port(), 12, threading.Event()
    options = {"listen": f"127.0.0.1:{port}", "members": [f"127.0.0.1:{mariadb.port}"]}
    with abused(tmp_path, {"one": options}) as running, ExitStack() as stack:
        socks = [stack.enter_context(detached(log_in(port))) for _ in range(readers)]
        before = own_memory(running)
        for sock in socks:
            sock.sendall(question(LARGE_RESULT))
        last = -1
        while last != (last := running.route()["bytes_out_total"]):  # until every buffer on the way is full
            pause.wait(0.3)
        assert last < readers * LARGE_RESULT, "nobody has it all yet"
        grown = own_memory(running) - before
        assert grown < readers * BUFFERS + LEFT_BEHIND, f"{grown >> 10} KiB for {readers} who do not read"
        times = []
        other = stack.enter_context(closing(log_in(port)))
        with ThreadPoolExecutor(readers) as threads:
            done = [threads.submit(read_result, sock, LARGE_RESULT, 32768, lambda: pause.wait(0.004)) for sock in socks]
            while not all(one.done() for one in done):
                began = time.monotonic()
                other.ping()
                times.append(time.monotonic() - began)
                pause.wait(0.02)
            assert all(is_exact(one.result(), LARGE_RESULT) for one in done)
        usual, worst = statistics.median(times), max(times)
        print(f"{readers} readers: {grown >> 10} KiB; {len(times)} pings meanwhile: {usual:.3f} s, {worst:.3f} at most")
        assert usual < 0.25, "of which most is this process's own time"


#: What a client does before it leaves, by the route on which that can be done.
Phase = Callable[[int], socket.socket]


def greeted(port: int) -> socket.socket:
    sock = dial(port)
    assert first_word(sock) == GREETING
    return sock


def half_a_login(port: int) -> socket.socket:
    sock = greeted(port)
    sock.sendall(b"\x50\x00")
    return sock


def half_a_query(port: int) -> socket.socket:
    sock = detached(log_in(port))
    sock.sendall(b"\x50\x00\x00\x00\x03SELECT")
    return sock


def mid_result(port: int) -> socket.socket:
    sock = detached(log_in(port))
    sock.sendall(question())
    assert sock.recv(10_000)
    return sock


def many_queries(port: int) -> socket.socket:
    """More questions than are answered, and no answer read."""
    sock = detached(log_in(port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.setblocking(False)
    try:
        for _ in range(QUESTIONS):
            sock.send(question())
    except BlockingIOError:
        pass
    return sock


def refused(port: int) -> socket.socket:
    sock = dial(port)
    assert sock.recv(1, socket.MSG_PEEK)
    return sock


def detached(connection: Any) -> socket.socket:
    """A driver's socket; the driver has nothing to do with it any more."""
    sock: socket.socket = connection._sock
    connection._sock = None
    connection._rfile.close()
    return sock


QUESTIONS = 4000
PHASES: Mapping[str, tuple[str, Phase]] = {
    "at once": ("one", dial),
    "greeted": ("one", greeted),
    "half a login": ("one", half_a_login),
    "half a query": ("one", half_a_query),
    "mid-result": ("one", mid_result),
    "unread": ("one", many_queries),
    "while its member says nothing": ("mute", dial),
    "while it is dialled": ("full", dial),
    "while it is parked": ("parked", dial),
    "refused": ("nobody", refused),
}


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def half_close_and_reset(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    reset(sock)


WAYS: Mapping[str, Callable[[socket.socket], None]] = {
    "reset": reset,
    "end": socket.socket.close,
    "half-close and reset": half_close_and_reset,
}


def test_resets_and_ends_in_every_phase_leave_nothing(mariadb: MariaDb, tmp_path: Path) -> None:
    ports, each = {name: free_port() for name in ("one", "mute", "full", "parked", "nobody")}, 20
    with ExitStack() as stack:
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(
            socket.create_connection(full.getsockname())
        )  # its queue is full: the kernel drops the next
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        members = {"mute": mute, "full": full, "parked": closed, "nobody": closed}
        at = {name: sock.getsockname()[1] for name, sock in members.items()} | {"one": mariadb.port}
        # Members in quarantine are looked at, which takes a descriptor for as long as they may take to answer.
        usual: Mapping[str, object] = {"connect_timeout": 1.0, "quarantine_interval": 5.0}
        routes = {
            name: {**usual, "listen": f"127.0.0.1:{port}", "members": [f"127.0.0.1:{at[name]}"]}
            for name, port in ports.items()
        }
        routes["nobody"]["parking_timeout"] = 0.0
        routes["mute"]["client_connect_timeout"] = 1.0
        running = stack.enter_context(abused(tmp_path, routes))

        def leave(phase: str, way: str) -> None:
            route, perform = PHASES[phase]
            before, began = running.route(route)["accepted_total"], time.monotonic()
            for sock in [perform(ports[route]) for _ in range(each)]:
                WAYS[way](sock)
            until(lambda: running.route(route)["accepted_total"] == before + each, f"all are counted: {phase}, {way}")
            until(lambda: running.route(route)["sessions"] == 0, f"all are gone: {phase}, {way}")
            took = time.monotonic() - began
            print(f"{phase}, {way}: {took:.2f} s")
            assert took < 12.0, "what cannot be sent any more is given up after ten seconds"

        for phase in PHASES:
            leave(phase, "reset")
        settled = own_memory(running)
        for phase in [one for one in PHASES if one != "unread"]:
            for way in WAYS:
                leave(phase, way)
        grown = own_memory(running) - settled
        print(f"{each * len(WAYS) * (len(PHASES) - 1)} clients that left without a word left {grown >> 10} KiB")
        assert grown < LEFT_BEHIND
        with closing(log_in(ports["one"])) as connection:
            connection.ping()
        assert running.route("parked")["abandoned_total"] == (1 + len(WAYS)) * each


def test_a_half_close_ends_a_session_in_time_and_after_its_last_byte(mariadb: MariaDb, tmp_path: Path) -> None:
    port, each = free_port(), 50
    options = {"listen": f"127.0.0.1:{port}", "members": [f"127.0.0.1:{mariadb.port}"]}
    with abused(tmp_path, {"one": options}) as running:
        for perform in (greeted, dial, half_a_login):  # `dial`: before anything was said
            began = time.monotonic()
            socks = [perform(port) for _ in range(each)]
            for sock in socks:
                sock.shutdown(socket.SHUT_WR)
            for sock in socks:
                with sock:
                    while sock.recv(65536):
                        pass
            until(lambda: running.route()["sessions"] == 0, "all are gone")
            took = time.monotonic() - began
            print(f"{perform.__name__}: {took:.2f} s")
            assert took < 8.0
        for _ in range(5):
            began = time.monotonic()
            with detached(log_in(port)) as sock:
                sock.settimeout(PATIENCE)
                sock.sendall(question())
                sock.shutdown(socket.SHUT_WR)
                data = bytearray()
                while more := sock.recv(65536):
                    data += more
                assert is_exact(data), "the whole result comes after the half-close"
            print(f"a result after a half-close: {time.monotonic() - began:.2f} s")
            assert time.monotonic() - began < 4.0


def test_thousands_of_short_connections_leave_nothing(mariadb: MariaDb, tmp_path: Path) -> None:
    port, threads, each = free_port(), 4, 1250
    options = {"listen": f"127.0.0.1:{port}", "members": [f"127.0.0.1:{mariadb.port}"]}

    def open_some(number: int) -> int:
        greetings = 0
        for _ in range(number):
            with dial(port) as sock:
                greetings += first_word(sock) == GREETING
        return greetings

    with abused(tmp_path, {"one": options}) as running, ThreadPoolExecutor(threads) as pool:
        assert open_some(500) == 500
        before, began = own_memory(running), time.monotonic()
        assert sum(pool.map(open_some, [each] * threads)) == threads * each
        took = time.monotonic() - began
        until(lambda: running.route()["sessions"] == 0, "all are gone")
        grown = own_memory(running) - before
        print(f"{threads * each} connections: {threads * each / took:.0f} a second, {grown >> 10} KiB more")
        assert running.route()["accepted_total"] == 500 + threads * each
        assert grown < 2 * MIB
        assert took < 60.0


def test_hundreds_at_a_member_that_never_speaks_are_told_in_time(mariadb: MariaDb, tmp_path: Path) -> None:
    port, well, clients = free_port(), free_port(), 300
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, since its kernel does, and never says a word
        mute.listen(4096)
        routes = {
            "one": {
                "listen": f"127.0.0.1:{port}",
                "members": [f"127.0.0.1:{mute.getsockname()[1]}"],
                "client_connect_timeout": 2.0,
                "connect_timeout": 0.2,
            },
            "well": {"listen": f"127.0.0.1:{well}", "members": [f"127.0.0.1:{mariadb.port}"]},
        }
        with abused(tmp_path, routes) as running:
            before, began = own_memory(running), time.monotonic()
            socks = [dial(port) for _ in range(clients)]
            until(lambda: running.route()["sessions"] == clients, "all wait")
            grown = own_memory(running) - before
            times = []
            for _ in range(20):
                at = time.monotonic()
                with closing(log_in(well)) as connection:
                    connection.ping()
                times.append(time.monotonic() - at)
            words = [first_word(sock) for sock in socks]
            took = time.monotonic() - began
            for sock in socks:
                sock.close()
            print(f"{clients} clients were told within {took:.1f} s and took {grown >> 10} KiB")
            assert words == [ERR] * clients
            assert 2.0 <= took < 8.0
            assert max(times) < 1.0
            assert grown < clients * 48 << 10


def test_hundreds_at_a_member_that_blackholes(group: Sandbox, tmp_path: Path) -> None:
    """Its packets are dropped in its own namespace, once sessions are open and before others come."""
    port, alone, clients = free_port(), free_port(), 100
    gone, other = group.member("mysql-2"), group.member("mysql-1")
    usual = {"connect_timeout": 0.5, "tcp_user_timeout": 2, "quarantine_interval": 0.2}
    away = f"{gone.host}:{gone.port}"
    routes = {
        "one": {**usual, "listen": f"127.0.0.1:{port}", "members": [away, f"{other.host}:{other.port}"]},
        "alone": {**usual, "listen": f"127.0.0.1:{alone}", "members": [away], "parking_timeout": 1.0},
    }
    app = group.accounts["app"]
    account = Account(app.user, app.password, app.database or "", str(group.ca_file))

    def server(where: int) -> str:
        connection = BlockingConnection("127.0.0.1", where, account)
        try:
            return str(connection.run("SELECT @@server_uuid")[0][0])
        finally:
            connection.close()

    uuids = {one.name: one.uuid for one in group.status().members}
    with abused(tmp_path, routes) as running, ThreadPoolExecutor(clients) as pool:
        assert server(port) == uuids["mysql-2"]
        early = [greeted(port) for _ in range(10)]
        before = own_memory(running)
        group.cut("mysql-2", "clients")
        try:
            began = time.monotonic()
            for sock in early:
                sock.sendall(packet(bytes(32), 1))  # an answer that nobody acknowledges

            def ends(sock: socket.socket) -> float:
                with sock:
                    try:
                        while sock.recv(65536):
                            pass
                    except ConnectionError:
                        pass
                return time.monotonic() - began

            ended = pool.map(ends, early)

            def word(where: int) -> tuple[int, float]:
                at = time.monotonic()
                with dial(where) as sock:
                    return first_word(sock), time.monotonic() - at

            found = list(pool.map(word, [port] * clients))
            assert [one for one, _ in found] == [GREETING] * clients
            assert max(took for _, took in found) < 2.5, "one connect timeout, and the next member"
            assert max(word(port)[1] for _ in range(5)) < 0.5, "it is tried last from then on"
            told = list(pool.map(word, [alone] * clients))
            assert [one for one, _ in told] == [ERR] * clients
            assert max(took for _, took in told) < 4.0
            slowest = max(ended)
            grown = own_memory(running) - before
            print(f"{2 * clients} clients: {grown >> 10} KiB; open sessions ended after {slowest:.1f} s")
            assert slowest < 8.0, "sessions that were open are ended by tcp_user_timeout"
            assert grown < 2 * clients * 48 << 10
        finally:
            group.heal("mysql-2")
        until(lambda: server(alone) == uuids["mysql-2"], "it is used again")
        until(lambda: server(port) == uuids["mysql-2"], "it is in turn again")
