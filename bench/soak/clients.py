"""The crowd before the router: writers, readers, big results, idle sessions, short ones of every manner, X sessions.

Owns their number and pace. What they did goes into `Visits` and, of writes, into the demonstration's ledger. They end
when they are told to, and not before the statement that they are at: so that all they did is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.demo.drivers import Account, AsyncConnection, DriverError
from bench.demo.ledger import Ledger
from bench.demo.run import RO_PORT, RW_PORT
from bench.soak.visits import Visits
from router.settings import DEFAULT_ROUTES
from xproto.errors import RemoteProtocolError, ServerError
from xproto.session import Login, Session

X_PORTS = tuple(int(str(DEFAULT_ROUTES[name]["port"])) for name in ("x_rw", "x_ro"))
# Seconds. Together a load that two cores carry beside three servers.
PACE = 0.02  # between two statements of one client
CONNECT_TIMEOUT = 10.0  # drivers' own: parking must answer within it
STATEMENT_TIMEOUT = 30.0
WRITER_LIFE = 30.0  # a writer's connection; all must come to an end, or the workers of before an upgrade would not
IDLE_LIFE = (30.0, 90.0)
READS_A_CONNECTION = 20
BIG_REPEATS = 8192  # of 128 characters: a result of 1 MiB
IDENTITIES = 1_000_000_000  # writes of one writer before its numbers run into the next one's
ERR = 0xFF  # the first byte of an ERR packet (manual, "ERR_Packet")
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset (socket(7))."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS writes (id BIGINT PRIMARY KEY, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))",
    "TRUNCATE TABLE writes",
)
FAILURES = (OSError, EOFError, ServerError, RemoteProtocolError)


class Crowd:
    """All clients.

    Args:
        host: the router's address.
        account: the application's.
        seed: for what is left to chance.
    """

    def __init__(self, host: str, account: Account, seed: int) -> None:
        self.ledger = Ledger()
        self.visits: dict[str, Visits] = {name: Visits() for name in KINDS}
        self._host = host
        self._account = account
        self._rng = random.Random(seed)
        self._ending = asyncio.Event()
        self._tokens: Iterator[int] = itertools.count(1)
        self._writes: dict[int, int] = {}

    async def work(self) -> None:
        """Work until `end` and until the last one has left."""
        async with asyncio.TaskGroup() as tasks:
            for name, kind in KINDS.items():
                for number in range(kind.number):
                    tasks.create_task(self._keep(kind, self.visits[name], number), name=f"{name} {number}")

    def end(self) -> None:
        """Have all leave."""
        self._ending.set()

    async def _keep(self, kind: Kind, visits: Visits, number: int) -> None:
        await self._pause(self._rng.uniform(0, kind.rest))
        while not self._ending.is_set():
            await kind.visit(self, visits, number)
            await self._pause(kind.rest)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _open(self, visits: Visits, port: int) -> AsyncConnection | None:
        visits.opened += 1
        try:
            connection = await AsyncConnection.open(self._host, port, self._account)
        except DriverError as error:
            visits.failed(error.code, error.message)
            self.ledger.errors[f"connect: {error.kind}"] += 1
            return None
        visits.greeted += 1
        return connection

    def _broke(self, visits: Visits, error: DriverError) -> None:
        visits.broken += 1
        self.ledger.errors[error.kind] += 1

    async def write(self, visits: Visits, number: int) -> None:
        """Insert numbers, and remember those that the server confirmed."""
        connection = await self._open(visits, RW_PORT)
        if connection is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + WRITER_LIFE
        try:
            while not self._ending.is_set() and loop.time() < until:
                self._writes[number] = self._writes.get(number, 0) + 1  # one whose fate is unknown is not used again
                identity = number * IDENTITIES + self._writes[number]
                await connection.run("INSERT INTO writes (id) VALUES (%s)", identity)
                self.ledger.acknowledged.add(identity)
                visits.asked += 1
                await self._pause(PACE)
        except DriverError as error:
            self._broke(visits, error)
        finally:
            connection.close()

    async def read(self, visits: Visits, number: int) -> None:
        """Ask for what nobody else asks for."""
        connection = await self._open(visits, RO_PORT)
        if connection is None:
            return
        try:
            for _ in range(READS_A_CONNECTION):
                token = next(self._tokens)
                [[found]] = await connection.run("SELECT %s + COUNT(*) FROM writes WHERE id < 0", token)
                visits.asked += 1
                if int(found) != token:
                    visits.wrong[f"{found!r} for {token}"] += 1
                await self._pause(PACE)
        except DriverError as error:
            self._broke(visits, error)
        finally:
            connection.close()

    async def fetch(self, visits: Visits, number: int) -> None:
        """Fetch 1 MiB that is known beforehand."""
        connection = await self._open(visits, RO_PORT)
        if connection is None:
            return
        try:
            token = str(next(self._tokens))
            [[found]] = await connection.run("SELECT REPEAT(SHA2(%s, 512), %s)", token, BIG_REPEATS)
            visits.asked += 1
            if found != hashlib.sha512(token.encode()).hexdigest() * BIG_REPEATS:
                visits.wrong["a big result"] += 1
        except DriverError as error:
            self._broke(visits, error)
        finally:
            connection.close()

    async def idle(self, visits: Visits, number: int) -> None:
        """Log in and do nothing for long, as the connections of a pool."""
        connection = await self._open(visits, (RW_PORT, RO_PORT)[number % 2])
        if connection is None:
            return
        try:
            await self._pause(self._rng.uniform(*IDLE_LIFE))
            await connection.run("SELECT 1")
            visits.asked += 1
        except DriverError as error:
            self._broke(visits, error)
        finally:
            connection.close()

    async def come_and_go(self, visits: Visits, number: int) -> None:
        """Connect and leave before logging in, each time in another manner."""
        manner = MANNERS[visits.opened % len(MANNERS)]
        visits.opened += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(self._host, (RW_PORT, RO_PORT)[number % 2])
        except OSError as error:  # a TimeoutError is one, too
            visits.failed(0, str(error))
            return
        try:
            if manner == "at once":
                visits.left += 1
                return
            async with asyncio.timeout(CONNECT_TIMEOUT):
                header = await reader.readexactly(5)
            if header[4] == ERR:
                visits.refused += 1
                return
            visits.greeted += 1
            if manner == "half-close":
                await self._half_close(visits, reader, writer)
        except (OSError, EOFError) as error:
            visits.failed(0, str(error))
        finally:
            if manner == "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _half_close(self, visits: Visits, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """End one's own side, and see the server end its side for it."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                writer.write_eof()
                await reader.read()
        except TimeoutError:
            visits.broken += 1
            self.ledger.errors["a half-close that was not answered"] += 1
        except OSError:  # cut off by what is done to the member
            visits.broken += 1

    async def speak_x(self, visits: Visits, number: int) -> None:
        """The same as `read` over the X Protocol."""
        visits.opened += 1
        login = Login(self._account.user, self._account.password, self._account.database)
        try:
            session = await Session.open(self._host, X_PORTS[number % 2], login, timeout=CONNECT_TIMEOUT)
        except FAILURES as error:
            visits.failed(getattr(error, "code", 0), str(error))
            self.ledger.errors[f"connect (X): {type(error).__name__}"] += 1
            return
        visits.greeted += 1
        try:
            for _ in range(READS_A_CONNECTION):
                token = next(self._tokens)
                result = await session.execute("SELECT ? + 0", [token], timeout=STATEMENT_TIMEOUT)
                visits.asked += 1
                if int(str(result.rows[0][0])) != token:
                    visits.wrong[f"{result.rows!r} for {token}"] += 1
                await self._pause(PACE)
        except FAILURES as error:
            visits.broken += 1
            self.ledger.errors[f"X: {type(error).__name__}"] += 1
        finally:
            await session.close()


MANNERS: Sequence[str] = ("close", "reset", "half-close", "at once")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of client: how many, what one visit is, and seconds between two."""

    number: int
    rest: float
    visit: Callable[[Crowd, Visits, int], Awaitable[None]]


KINDS: Mapping[str, Kind] = {
    "writers": Kind(3, 0.05, Crowd.write),
    "readers": Kind(3, 0.05, Crowd.read),
    "big results": Kind(1, 0.5, Crowd.fetch),
    "idle": Kind(40, 1.0, Crowd.idle),
    "short": Kind(4, 0.05, Crowd.come_and_go),
    "X": Kind(2, 0.1, Crowd.speak_x),
}
