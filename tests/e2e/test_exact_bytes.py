"""A real server confirms what it got, and what it sends is known beforehand: through the router both are exact."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.demo.drivers import BlockingConnection
from bench.sandbox.sandbox import Sandbox
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, routed

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
SIZES = (0, 1, 16_383, 16_384, 65_535, 65_536, 65_537, 262_144, (1 << 24) - 2, (1 << 24) + 5)
"""Bytes of a parameter: around the router's limits, and around what one packet of the protocol can hold."""
AT_ONCE = 4


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    sandbox.restore()
    with routed(sandbox, tmp_path_factory.mktemp("exact")) as one:
        yield one


def exchange(stage: Stage, port: int, number: int) -> None:
    """Send parameters of every size and fetch as much, in one session with a text of its own."""
    connection = BlockingConnection(stage.address, port, stage.account)
    try:
        for size in SIZES:
            text = random.Random(f"{number} {size}").randbytes(size // 2 + 1).hex()[:size]
            [[digest, length]] = connection.run("SELECT SHA2(%s, 256), %s", text, size)
            assert (digest, int(str(length))) == (hashlib.sha256(text.encode()).hexdigest(), size), "what it got"
            times = size // 128
            [[result]] = connection.run("SELECT REPEAT(SHA2(%s, 512), %s)", f"{number} {size}", times)
            expected = hashlib.sha512(f"{number} {size}".encode()).hexdigest() * times
            assert result == expected, "what it sent"
    finally:
        connection.close()


def test_parameters_and_results_of_every_size_are_exact_in_sessions_side_by_side(stage: Stage) -> None:
    ports = (RW_PORT, RO_PORT)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in [threads.submit(exchange, stage, ports[n % len(ports)], n) for n in range(AT_ONCE)]:
            done.result()
