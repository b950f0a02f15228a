"""SQL statements to a member over its Unix socket. The one import site of `pymysql` in the sandbox."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import pymysql

from bench.sandbox.errors import SandboxError

# Seconds. A Unix socket answers at once or not at all; a statement may take as long as joining a group.
CONNECT_TIMEOUT = 5
STATEMENT_TIMEOUT = 90


class StatementError(SandboxError):
    """The server refused a statement, or did not answer; `code` is MySQL's error number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (error {code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one statement; no columns where the statement returns no rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def run(path: Path, user: str, password: str, statements: list[str], timeout: float = STATEMENT_TIMEOUT) -> Result:
    """Run statements in one session and return the last one's result.

    Args:
        path: the member's Unix socket.
        timeout: seconds for each statement.

    Raises:
        StatementError: the server refuses one, goes away, or does not answer in time.
    """
    try:
        # The socket is ours: the driver leaves one of its own open when connecting fails.
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(CONNECT_TIMEOUT)
            sock.connect(str(path))
            connection = pymysql.connect(
                user=user,
                password=password,
                charset="utf8mb4",
                autocommit=True,
                read_timeout=timeout,
                write_timeout=timeout,
                defer_connect=True,
            )
            connection.connect(sock)
            with connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                columns = tuple(column[0] for column in cursor.description or ())
                return Result(columns, tuple(tuple(row) for row in cursor.fetchall()))
    except pymysql.MySQLError as exc:
        code, message = (*exc.args, "", "")[:2] if exc.args else (0, "")
        raise StatementError(code if isinstance(code, int) else 0, str(message or exc)) from exc
    except OSError as exc:
        raise StatementError(0, str(exc)) from exc
