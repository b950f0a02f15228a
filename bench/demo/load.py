"""The applications of the demonstration: writers, readers, and the prober that asks the members directly.

Owns pacing and reconnecting. What happened goes into the ledger.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping

from bench.demo.drivers import Account, AsyncConnection, BlockingConnection, DriverError
from bench.demo.ledger import Ack, Ledger

# Seconds between two statements of one client: enough to see every gap, and a load that leaves two cores room.
WRITE_PACE = 0.01
READ_PACE = 0.01
# Seconds before a client connects again: what a sensible application would do at the least.
RECONNECT = 0.01
# Statements of one reading connection, so that reads spread over the members as new connections do.
READS_A_CONNECTION = 20
# Seconds between two tries of the prober.
PROBE_PACE = 0.002

TABLES = (
    "CREATE TABLE IF NOT EXISTS writes (id BIGINT PRIMARY KEY, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))",
    "CREATE TABLE IF NOT EXISTS probes (id BIGINT AUTO_INCREMENT PRIMARY KEY)",
    "TRUNCATE TABLE writes",
    "TRUNCATE TABLE probes",
)
WRITE = "INSERT INTO writes (id) VALUES (%s)"
WHO = "SELECT @@server_uuid"
PROBE = "INSERT INTO probes VALUES ()"
IDENTITIES = 1_000_000_000  # writes a writer may make before its ids run into the next one's


async def write(number: int, host: str, port: int, account: Account, names: Mapping[str, str], ledger: Ledger) -> None:
    """Write through the router with asyncmy until cancelled.

    Args:
        names: members' names by server UUID.
    """
    identity = number * IDENTITIES
    while True:
        try:
            connection = await AsyncConnection.open(host, port, account)
            try:
                member = ""
                while True:
                    identity += 1  # an id whose fate is unknown is never used again
                    await connection.run(WRITE, identity)
                    at = time.monotonic()
                    # Asked only once the write is acknowledged: that is the moment that counts.
                    member = member or names.get((await connection.run(WHO))[0][0], "unknown")
                    ledger.wrote(identity, Ack(at, member))
                    await asyncio.sleep(WRITE_PACE)
            finally:
                connection.close()
        except DriverError as error:
            ledger.errors[error.kind] += 1
            await asyncio.sleep(RECONNECT)


class BlockingWriter(threading.Thread):
    """Writes through the router with PyMySQL, in a thread as synchronous applications do."""

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        account: Account,
        names: Mapping[str, str],
        wrote: Callable[[int, Ack], None],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self._identity = number * IDENTITIES
        self._where = host, port, account
        self._names = names
        self._wrote, self._failed = wrote, failed
        self._ending = threading.Event()

    def stop(self) -> None:
        """Ask it to end."""
        self._ending.set()

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                connection = BlockingConnection(*self._where)
                try:
                    member = ""
                    while not self._ending.wait(WRITE_PACE):
                        self._identity += 1
                        connection.run(WRITE, self._identity)
                        at = time.monotonic()
                        member = member or self._names.get(connection.run(WHO)[0][0], "unknown")
                        self._wrote(self._identity, Ack(at, member))
                finally:
                    connection.close()
            except DriverError as error:
                self._failed(error.kind)
                self._ending.wait(RECONNECT)


async def read(host: str, port: int, account: Account, names: Mapping[str, str], ledger: Ledger) -> None:
    """Read through the router with asyncmy until cancelled, and note which member answered.

    Args:
        names: members' names by server UUID.
    """
    while True:
        try:
            connection = await AsyncConnection.open(host, port, account)
            try:
                for _ in range(READS_A_CONNECTION):
                    rows = await connection.run("SELECT @@server_uuid, COUNT(*) FROM writes WHERE id < 0")
                    ledger.reads[names.get(rows[0][0], rows[0][0])] += 1
                    await asyncio.sleep(READ_PACE)
            finally:
                connection.close()
        except DriverError as error:
            ledger.errors[error.kind] += 1
            await asyncio.sleep(RECONNECT)


async def probe(name: str, host: str, port: int, account: Account, ledger: Ledger) -> None:
    """Try to write to one member directly, every 2 ms, until cancelled: what the group itself can do.

    A secondary refuses at once and cheaply, so one connection to each member tells when one becomes writable.
    """
    while True:
        try:
            connection = await AsyncConnection.open(host, port, account)
            try:
                while True:
                    began = time.monotonic()
                    try:
                        await connection.run(PROBE)
                        ledger.direct.append(Ack(time.monotonic(), name))
                    except DriverError as error:
                        if error.code not in READ_ONLY:
                            raise
                    await asyncio.sleep(max(0.0, began + PROBE_PACE - time.monotonic()))
            finally:
                connection.close()
        except DriverError:
            await asyncio.sleep(RECONNECT)


READ_ONLY = frozenset({1290, 1836, 3098, 3101})
"""Errors by which a member that is no primary refuses a write and keeps the connection."""
