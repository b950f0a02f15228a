"""Locust's users: one writes, one reads, one does the CQRS pattern by itself, and one has the sample application do it.

CQRS here: insert through the writer's port, and select the same row at once through the reader's. A read that does not
find it is *stale*; the user then asks on until it does, and how long that took is a figure too. A stale read is no
failure: that is what reading from replicas means. An error is one, and so is a row that never comes.

Variables: FL_HOST, FL_WRITER, FL_READER (ports), FL_USER, FL_PASSWORD, FL_DATABASE, FL_CA, and FL_FIGURES, the file
that gets the figures as JSON when the run ends.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
from locust import HttpUser, User, between, constant, events, task

# Seconds.
CONNECT_TIMEOUT = 10
STATEMENT_TIMEOUT = 30
NEVER = 10.0  # when a row that a replica does not show counts as lost
PACE = 0.001  # between two looks for a stale row
TABLE = "locust_rows"
LOOKS = 6  # of readers' sessions in turn: more than there are replicas
READ_LIMIT = 100  # rows of one read

WRITER, READER = int(os.environ["FL_WRITER"]), int(os.environ["FL_READER"])
CONTEXT = ssl.create_default_context(cafile=os.environ["FL_CA"])
CONTEXT.check_hostname = False  # the router's address is in no member's certificate


class Staleness:
    """What reads after writes have seen, by the kind of user."""

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.stale: dict[str, int] = {}
        self.late: list[float] = []  # milliseconds until a stale row was there

    def count(self, kind: str, *, stale: bool) -> None:
        """One read after a write."""
        self.reads[kind] = self.reads.get(kind, 0) + 1
        self.stale[kind] = self.stale.get(kind, 0) + stale


SEEN = Staleness()


class Connection:
    """One connection, made when it is first needed and again after an error."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: Any = None

    def run(self, statement: str, *values: object) -> tuple[tuple[Any, ...], ...]:
        """Run one statement and return its rows."""
        try:
            if self._open is None:
                self._open = pymysql.connect(
                    host=os.environ["FL_HOST"],
                    port=self._port,
                    user=os.environ["FL_USER"],
                    password=os.environ["FL_PASSWORD"],
                    database=os.environ["FL_DATABASE"],
                    ssl=CONTEXT,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=STATEMENT_TIMEOUT,
                )
            with self._open.cursor() as cursor:
                cursor.execute(statement, values)
                return tuple(cursor.fetchall())
        except (pymysql.MySQLError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        held, self._open = self._open, None
        if held is not None:
            held.close() if held.open else None


class DatabaseUser(User):
    """What users of the database share: two connections and a way to report."""

    abstract = True
    wait_time = between(0.005, 0.02)

    def on_start(self) -> None:
        """Nothing is open yet."""
        self.writer, self.reader = Connection(WRITER), Connection(READER)

    def on_stop(self) -> None:
        """Say goodbye."""
        self.writer.close()
        self.reader.close()

    def report(self, name: str, act: Callable[[], Any]) -> Any:
        """Do something and tell Locust how long it took, or what went wrong; nothing is returned then."""
        began = time.perf_counter()
        result, error = None, None
        try:
            result = act()
        except (pymysql.MySQLError, OSError) as exc:
            error = exc
            time.sleep(0.05)
        events.request.fire(
            request_type="MySQL",
            name=name,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=len(result or ()),
            exception=error,
            context={},
        )
        return result

    def insert(self) -> str | None:
        """Write a row; its key, or nothing if that failed."""
        key = str(uuid.uuid4())
        done = self.report("insert", lambda: self.writer.run(f"INSERT INTO {TABLE} (name) VALUES (%s)", key))  # noqa: S608
        return key if done is not None else None


class WriteUser(DatabaseUser):
    """Inserts."""

    @task
    def write(self) -> None:
        """One row."""
        self.insert()


class ReadUser(DatabaseUser):
    """Reads what came last."""

    @task
    def read(self) -> None:
        """Some rows."""
        statement = f"SELECT id, name FROM {TABLE} ORDER BY id DESC LIMIT {READ_LIMIT}"  # noqa: S608
        self.report("select", lambda: self.reader.run(statement))


class CqrsUser(DatabaseUser):
    """Inserts through the writer's port and selects at once through the reader's."""

    def on_start(self) -> None:
        """The reader is connected before the first row is written: connecting takes longer than replication."""
        super().on_start()
        self.report("connect", lambda: self.reader.run("SELECT 1"))

    @task
    def write_and_read(self) -> None:
        """One row, there and back."""
        key = self.insert()
        if key is None:
            return
        acknowledged = time.perf_counter()
        rows = self.report("select at once", lambda: self.look(key))
        if rows is None:
            return
        SEEN.count("cqrs", stale=not rows)
        if not rows and self.report("select until there", lambda: self.wait_for(key)):
            SEEN.late.append((time.perf_counter() - acknowledged) * 1000)

    def look(self, key: str) -> tuple[tuple[Any, ...], ...]:
        """The row, if the replica has it."""
        return self.reader.run(f"SELECT id FROM {TABLE} WHERE name = %s", key)  # noqa: S608

    def wait_for(self, key: str) -> tuple[tuple[Any, ...], ...]:
        """The row, when the replica has it."""
        deadline = time.perf_counter() + NEVER
        while not (rows := self.look(key)):
            if time.perf_counter() > deadline:
                raise OSError(f"a row was not there after {NEVER:g} s")
            time.sleep(PACE)
        return rows


class SampleUser(HttpUser):
    """Has the sample application insert and select."""

    wait_time = constant(0.02)

    @task
    def get(self) -> None:
        """One request."""
        with self.client.get("/get", catch_response=True) as reply:
            if reply.status_code == 200:
                SEEN.count("application", stale=not reply.json())


@events.test_start.add_listener
def prepare(**_: Any) -> None:
    """A new table, before anybody writes."""
    connection = Connection(WRITER)
    connection.run(f"DROP TABLE IF EXISTS {TABLE}")
    connection.run(f"CREATE TABLE {TABLE} (id BIGINT PRIMARY KEY AUTO_INCREMENT, name CHAR(36) UNIQUE)")
    connection.close()
    # No replica without it, or the first reads would fail.
    deadline = time.monotonic() + NEVER
    seen = 0
    while seen < LOOKS:
        reader = Connection(READER)
        try:
            reader.run(f"SELECT COUNT(*) FROM {TABLE}")  # noqa: S608
            seen += 1
        except pymysql.MySQLError:
            if time.monotonic() > deadline:
                raise
        finally:
            reader.close()


@events.quitting.add_listener
def save(environment: Any, **_: Any) -> None:
    """Write the figures."""
    rows = [
        {
            "name": f"{one.method} {one.name}",
            "requests": one.num_requests,
            "failures": one.num_failures,
            "a_second": one.total_rps,
            "median": one.median_response_time,
            "p95": one.get_response_time_percentile(0.95),
            "p99": one.get_response_time_percentile(0.99),
        }
        for one in environment.stats.entries.values()
    ]
    errors = [
        {"name": one.name, "error": str(one.error)[:200], "count": one.occurrences}
        for one in environment.stats.errors.values()
    ]
    figures = {"requests": rows, "errors": errors, "reads": SEEN.reads, "stale": SEEN.stale, "late": SEEN.late}
    Path(os.environ["FL_FIGURES"]).write_text(json.dumps(figures), encoding="utf-8")
