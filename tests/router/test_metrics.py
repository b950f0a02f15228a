"""What Prometheus is told, by a real router on loopback: it can be read, is of now, and has a bound."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.members import Role
from cluster.server_status import ServerStatus
from router.accounts import report_route
from router.chronicle import Chronicle
from router.clusters import Clusters
from router.counts import SharedMemory
from router.crew import Crew
from router.events import Events
from router.families import text_of
from router.metrics import Metrics
from router.overview import Overview
from router.port import Port
from router.reports import RouteReport, WorkerReport, WorkerState, combine
from router.server_series import server_families
from router.service import Router
from router.settings import parse
from tests.router.conftest import Run
from tests.router.fakes import Cluster, listening, member, route, until


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by its name and its labels in order."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


class OfOnePort(Overview):
    """What there is to see of a router whose one worker is this process."""

    def __init__(self, port: Port, memory: SharedMemory, tasks: asyncio.TaskGroup) -> None:
        crew, clusters = Crew(memory, {}, lambda _, __: None), Clusters(tasks, lambda _, __: None)
        super().__init__(crew, clusters, Chronicle(Events()), lambda: [port.route.name])
        self._port = port

    def workers(self) -> list[WorkerReport]:
        routes = (report_route(self._port, listening=True),)
        return [WorkerReport(1, os.getpid(), 0.0, WorkerState.SERVING, routes=routes)]

    def report(self) -> dict[str, RouteReport]:
        return combine(self.workers()[0].routes)


@asynccontextmanager
async def watched(port: Port) -> AsyncIterator[Router]:
    router = Router(parse({"clusters": {"main": {"srv": "db.test"}}, "admin": {"enabled": False}}), {})
    memory = SharedMemory.make()
    try:
        router.overview = OfOnePort(port, memory, port.tasks)
        yield router
    finally:
        memory.close()


def test_a_live_session_is_in_the_metrics(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with member() as one, listening(cluster, route()) as listener, watched(listener.port) as router:
            cluster.set((one, Role.PRIMARY))
            reader, writer = await asyncio.open_connection(listener.endpoint.host, listener.endpoint.port)
            assert await reader.readexactly(6) == b"hello "
            writer.write(b"x" * 1000)
            await reader.readexactly(1000)
            told = samples(Metrics(router).text())
            of_route = ("route", "test")
            assert told["fairlead_session_bytes_total", (("direction", "in"), of_route)] == 1000
            assert told["fairlead_session_bytes_total", (("direction", "out"), of_route)] == 1006
            assert told["fairlead_clients", (of_route,)] == 1
            labels = (("member", "mysql-0"), of_route)
            assert told["fairlead_sessions", labels] == 1
            assert told["fairlead_connect_seconds_count", labels] == 1
            assert 0 < told["fairlead_connect_seconds_sum", labels] < 2
            buckets = [(n, v) for (n, ls), v in told.items() if n == "fairlead_connect_seconds_bucket"]
            assert buckets[-1][1] == 1
            assert told["fairlead_workers_died_total", ()] == 0
            assert told["fairlead_reloads_total", (("outcome", "refused"),)] == 0
            assert told["fairlead_worker_clients", (("worker", "1"),)] == 1
            before = set(told)
            writer.close()
            await until(lambda: not listener.port.sessions, "it ends")
            # The next of its kind brings no new series.
            for _ in range(5):
                reader, writer = await asyncio.open_connection(listener.endpoint.host, listener.endpoint.port)
                await reader.readexactly(6)
                writer.close()
            assert set(samples(Metrics(router).text())) == before

    run(scenario())


@pytest.mark.parametrize(("age", "shown"), [(44.0, True), (46.0, False)])
def test_what_members_count_has_the_names_that_people_know(age: float, shown: bool) -> None:
    values = {
        "global_status_threads_connected": 7.0,
        "global_status_innodb_buffer_pool_pages_data": 5.0,
        "global_status_innodb_buffer_pool_pages_dirty": 2.0,
        "global_variables_max_connections": 151.0,
        "perf_schema_transactions_in_queue": 3.0,
        "perf_schema_conflicts_detected": 4.0,
    }
    statuses = {"mysql-0": ServerStatus(100.0, values), "mysql-1": ServerStatus(100.0, detail="denied")}
    watch = SimpleNamespace(statuses=statuses, timing=SimpleNamespace(status_interval=15.0))
    told = samples(text_of(server_families({"main": watch}, 100.0 + age)))  # type: ignore[dict-item]
    labels = (("cluster", "main"), ("member", "mysql-0"))
    expected = {
        ("mysql_up", labels): 1.0,
        ("mysql_up", (("cluster", "main"), ("member", "mysql-1"))): 0.0,
        ("mysql_global_status_threads_connected", labels): 7.0,
        ("mysql_global_status_buffer_pool_pages", (*labels, ("state", "data"))): 5.0,
        ("mysql_global_status_buffer_pool_dirty_pages", labels): 2.0,
        ("mysql_global_variables_max_connections", labels): 151.0,
        ("mysql_perf_schema_transactions_in_queue", labels): 3.0,
        ("mysql_perf_schema_conflicts_detected_total", labels): 4.0,
    }
    assert told == (expected if shown else {})
