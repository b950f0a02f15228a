"""The router on a real group in multi-primary mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.demo.drivers import BlockingConnection
from bench.sandbox.record import Mode
from bench.sandbox.sandbox import Sandbox
from router.api import fetch
from tests.e2e.routing import RW_PORT, routed, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300), pytest.mark.usefixtures("possible")]


def test_every_member_takes_writes_and_a_killed_one_is_left_out(directory: Path, tmp_path: Path) -> None:
    sandbox = Sandbox(directory, members=3, mode=Mode.MULTI_PRIMARY)
    try:
        sandbox.up()
        with routed(sandbox, tmp_path) as stage:

            def offered() -> dict[str, str | None]:
                members = fetch(stage.admin, "/api/v1/topology")["clusters"]["main"]["members"]
                return {one["name"].partition(".")[0]: one["offered"] for one in members}

            assert offered() == {"mysql-0": "PRIMARY", "mysql-1": "PRIMARY", "mysql-2": "PRIMARY"}
            sandbox.kill("mysql-0")
            until(lambda: offered() == {"mysql-0": None, "mysql-1": "PRIMARY", "mysql-2": "PRIMARY"}, "it is left out")
            connection = BlockingConnection(stage.address, RW_PORT, stage.account)
            connection.run("CREATE TABLE written (id INT PRIMARY KEY)")
            connection.run("INSERT INTO written VALUES (1)")
            connection.close()
    finally:
        sandbox.down(purge=True)
