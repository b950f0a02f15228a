"""Connections as applications make them: asyncmy and PyMySQL, TLS on. The one importer of both in the demo.

Translates their errors: whatever goes wrong with a connection is a `DriverError` with MySQL's number.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any

import asyncmy
import asyncmy.errors
import pymysql
from pymysql.constants import CR, ER

# Seconds. The drivers' own default: parking must answer within it.
CONNECT_TIMEOUT = 10.0
# Seconds for one statement: nothing may hang, whatever is cut.
STATEMENT_TIMEOUT = 30.0

_NAMES = {
    number: name
    for constants in (CR, ER)
    for name, number in vars(constants).items()
    if isinstance(number, int) and not name.startswith("_")
}


@dataclass(frozen=True, slots=True)
class Account:
    """How to get in. `ca_file` verifies the server's certificate; the router passes TLS through untouched."""

    user: str
    password: str
    database: str
    ca_file: str


class DriverError(Exception):
    """A connection or statement failed.

    Args:
        code: MySQL's error number, 0 where there is none.
        message: the driver's words.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"MySQL error {self.code}: {self.message}" if self.code else self.message

    @property
    def kind(self) -> str:
        """The number and its name, such as `1290 OPTION_PREVENTS_STATEMENT`."""
        return f"{self.code} {_NAMES.get(self.code, '')}".strip() if self.code else self.message


def _translated(error: BaseException) -> DriverError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = str(error.args[1] if code and len(error.args) > 1 else error) or type(error).__name__
    return DriverError(code, message)


@cache
def _tls(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = False  # the client dials the router's address; the certificate names the member
    return context


def _cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


class AsyncConnection:
    """A connection of asyncmy. One statement at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, host: str, port: int, account: Account) -> AsyncConnection:
        """Connect and log in.

        Raises:
            DriverError: it did not come about.
        """
        cancelled_before, made = _cancelled(), None
        try:
            made = await cls._open(host, port, account)
        finally:
            # asyncmy waits for its connection with `asyncio.wait_for`, which before Python 3.12 swallows that it was
            # cancelled if the connection comes about, or fails, at that moment.
            if _cancelled() > cancelled_before:
                if made is not None:
                    made.close()
                raise asyncio.CancelledError
        return made

    @classmethod
    async def _open(cls, host: str, port: int, account: Account) -> AsyncConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await asyncmy.connect(
                    host=host,
                    port=port,
                    user=account.user,
                    password=account.password,
                    db=account.database,
                    ssl=_tls(account.ca_file),
                    autocommit=True,
                )
        except TimeoutError as exc:
            raise DriverError(0, f"no connection within {CONNECT_TIMEOUT:g} s") from exc
        except (asyncmy.errors.Error, OSError, EOFError) as exc:
            raise _translated(exc) from exc
        except RuntimeError as exc:  # asyncmy's word for a transport that was closed before it was set up
            raise DriverError(0, f"the connection was lost at once: {exc}") from exc
        return cls(connection)

    async def run(self, statement: str, *args: object) -> tuple[tuple[Any, ...], ...]:
        """Run one statement and return its rows. A failure leaves the connection unusable.

        Raises:
            DriverError: it failed, or did not end in time.
        """
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT), self._connection.cursor() as cursor:
                await cursor.execute(statement, args or None)
                return tuple(await cursor.fetchall())
        except TimeoutError as exc:
            raise DriverError(0, f"no answer within {STATEMENT_TIMEOUT:g} s") from exc
        except (asyncmy.errors.Error, OSError, EOFError) as exc:
            raise _translated(exc) from exc

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()


class BlockingConnection:
    """A connection of PyMySQL."""

    def __init__(self, host: str, port: int, account: Account) -> None:
        """Connect and log in.

        Raises:
            DriverError: it did not come about.
        """
        try:
            self._connection = pymysql.connect(
                host=host,
                port=port,
                user=account.user,
                password=account.password,
                database=account.database,
                ssl=_tls(account.ca_file),
                autocommit=True,
                connect_timeout=int(CONNECT_TIMEOUT),
                read_timeout=int(STATEMENT_TIMEOUT),
                write_timeout=int(STATEMENT_TIMEOUT),
            )
        except (pymysql.err.Error, OSError) as exc:
            raise _translated(exc) from exc

    def run(self, statement: str, *args: object) -> tuple[tuple[Any, ...], ...]:
        """Run one statement and return its rows.

        Raises:
            DriverError: it failed.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, args or None)
                return tuple(cursor.fetchall())
        except (pymysql.err.Error, OSError) as exc:
            raise _translated(exc) from exc

    def close(self) -> None:
        """Drop the connection."""
        if self._connection.open:
            self._connection.close()
