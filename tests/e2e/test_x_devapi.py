"""X DevAPI of Connector/Python and Connector/Node.js: what they do has one transcript, direct or through the router."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.demo.run import Stage
from bench.peers.connectors import ensure_node, ensure_python
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox
from tests.e2e.routing import routed, until
from tests.e2e.srv_clients import PROGRAMS

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]
X_RW_PORT, X_RO_PORT = 6448, 6449
PATIENCE = 60.0  # seconds
LEAST_STEPS = 34  # of the shorter program

#: A transcript: steps and what came of each.
Transcript = list[tuple[str, Any]]


def python() -> tuple[list[str], dict[str, str]]:
    return [str(ensure_python()), str(PROGRAMS / "crud.py")], {}


def node() -> tuple[list[str], dict[str, str]]:
    program, modules = ensure_node()
    return [str(program), str(PROGRAMS / "crud.cjs")], {"NODE_PATH": str(modules)}


CONNECTORS: dict[str, Callable[[], tuple[list[str], dict[str, str]]]] = {"python": python, "node": node}


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    sandbox.restore()
    with routed(sandbox, tmp_path_factory.mktemp("routed")) as one:
        yield one


@pytest.fixture(params=CONNECTORS)
def perform(request: pytest.FixtureRequest, stage: Stage) -> Callable[[str, int, str], Transcript]:
    """Runs one connector's program against HOST, PORT in a MODE, and returns its transcript."""
    try:
        argv, environment = CONNECTORS[request.param]()
    except SandboxError as exc:
        pytest.skip(str(exc))
    account = stage.account
    access = {"APP_USER": account.user, "APP_PASSWORD": account.password, "APP_CA": account.ca_file}

    def run(host: str, port: int, mode: str) -> Transcript:
        done = subprocess.run(
            [*argv, host, str(port), mode],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, **access, **environment},
        )
        assert done.returncode == 0, done.stderr
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    return run


def replicated(stage: Stage) -> bool:
    """Whether every member has applied what the primary has."""
    found = {str(stage.sandbox.sql(one.name, "SELECT @@GLOBAL.gtid_executed").rows) for one in stage.sandbox.members}
    return len(found) == 1


def test_documents_tables_transactions_and_errors(stage: Stage, perform: Callable[..., Transcript]) -> None:
    primary, secondary = stage.sandbox.member("mysql-0"), stage.sandbox.member("mysql-1")
    direct = perform(primary.host, primary.x_port, "write")
    assert perform(stage.address, X_RW_PORT, "write") == direct
    steps = dict(direct)
    # The transcript speaks of what it is meant to.
    assert len(direct) == len(steps) >= LEAST_STEPS
    assert steps["transactions"] == [0, 4, 5, 6]
    assert steps["add one that is there"]["error"] == 5116
    assert steps["no such table"]["error"] == 1146
    assert not [name for name in ("add a wide one", "prepared find above 45", "afterwards") if "error" in steps[name]]

    until(lambda: replicated(stage), "the secondaries have it all")
    there = perform(secondary.host, secondary.x_port, "read")
    for _ in stage.sandbox.members:  # each secondary in its turn
        assert perform(stage.address, X_RO_PORT, "read") == there
    assert dict(there)["write"]["error"] == 1290, "a secondary takes no writes"
    assert dict(there)["find all"] == steps["find all"]
