"""A real group for the tests that need one. They are skipped, with the reason, where none can be had."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.peers.root import PEERS
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import find_marked
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.sandbox import Sandbox
from bench.sandbox.servers import choose_server
from tests.e2e.etcd_server import EtcdServer


def why_not() -> str:
    """Say why no sandbox with namespaces can be had here; empty when it can. Fetches the server if need be."""
    if os.geteuid() != 0:
        return "a sandbox with a network of its own needs root"
    try:
        run_program([need_program("unshare", "util-linux"), "--net", "--mount", "true"])
        choose_server(None, lambda text: None)
    except SandboxError as exc:
        return str(exc)
    return ""


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip unless a sandbox can be had here."""
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def peers() -> Path:
    """The private root with programs of others; skips where it cannot be had."""
    try:
        return PEERS.ensure()
    except SandboxError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Whoever started the tests in the background may have SIGINT ignored, which all children would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def mark() -> Iterator[Mapping[str, str]]:
    """For the environment of a program: by it everything that it started is found, and must have ended."""
    name, value = "FAIRLEAD_TEST_MARK", f"{os.getpid()}-{time.monotonic_ns()}"
    yield {name: value}
    left = find_marked(name, value)
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    assert not left, "processes were left running"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for one more sandbox; its path is short, since sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        yield Path(name) / "s"


@pytest.fixture(scope="session")
def sandbox(possible: None) -> Iterator[Sandbox]:
    """Three members, for as long as the tests run. A test that changes them takes `group`."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        running = Sandbox(Path(name) / "s", members=3)
        try:
            running.up()
            yield running
        finally:
            running.down(purge=True)


@pytest.fixture
def group(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox with all members ONLINE and mysql-0 the primary; whatever a test does to it is undone."""
    sandbox.restore()
    yield sandbox
    sandbox.restore()


@pytest.fixture(scope="module")
def etcd(peers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A real etcd. A test that changes how it runs leaves it running."""
    server = EtcdServer(peers, tmp_path_factory.mktemp("etcd"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
