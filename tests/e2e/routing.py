"""A router and a publisher over a real group, for tests: started as users start them, ended whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.demo.drivers import BlockingConnection, DriverError
from bench.demo.run import RO_PORT, RW_PORT, Stage
from bench.demo.stage import arrange, start_publisher, start_router
from bench.sandbox.sandbox import Sandbox

__all__ = ["RO_PORT", "RW_PORT", "Stage", "Writer", "routed", "until"]


@contextmanager
def routed(group: Sandbox, directory: Path, *, workers: int = 1) -> Iterator[Stage]:
    """A publisher and a router that offers every member."""
    stage = arrange(group, directory)
    try:
        start_publisher(stage)
        start_router(stage, workers=workers)
        yield stage
    finally:
        stage.children.end()


class Writer(threading.Thread):
    """Writes numbers through the read-write port and remembers what was acknowledged, when and by whom."""

    def __init__(self, stage: Stage, table: str) -> None:
        super().__init__(daemon=True)
        self._stage, self._table = stage, table
        self._ending = threading.Event()
        self.acknowledged: list[tuple[int, float, str]] = []
        self.errors: list[DriverError] = []
        self.longest_connect = 0.0

    def run(self) -> None:
        number = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                connection = BlockingConnection(self._stage.address, RW_PORT, self._stage.account)
                try:
                    uuid = str(connection.run("SELECT @@server_uuid")[0][0])
                    self.longest_connect = max(self.longest_connect, time.monotonic() - began)
                    while not self._ending.wait(0.005):
                        number += 1
                        connection.run(f"INSERT INTO {self._table} VALUES (%s)", number)
                        self.acknowledged.append((number, time.monotonic(), uuid))
                finally:
                    connection.close()
            except DriverError as error:
                self.longest_connect = max(self.longest_connect, time.monotonic() - began)
                self.errors.append(error)
                self._ending.wait(0.01)

    def __enter__(self) -> Writer:
        connection = BlockingConnection(self._stage.address, RW_PORT, self._stage.account)
        connection.run(f"DROP TABLE IF EXISTS {self._table}")
        connection.run(f"CREATE TABLE {self._table} (id BIGINT PRIMARY KEY)")
        connection.close()
        self.start()
        until(lambda: len(self.acknowledged) > 10, "writes flow")
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(60)

    def missing(self, member: str) -> set[int]:
        """Acknowledged numbers that one member does not have."""
        where = self._stage.sandbox.member(member)
        connection = BlockingConnection(where.host, where.port, self._stage.account)
        try:
            found = {int(row[0]) for row in connection.run(f"SELECT id FROM {self._table}")}
        finally:
            connection.close()
        return {number for number, _, _ in self.acknowledged} - found


def until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.02)
