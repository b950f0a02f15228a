"""The exceptions of the X Protocol: one class for each answer a caller can have to them.

Other lost connections and a deadline are not here: they are `ConnectionError` and `TimeoutError`.
"""

from __future__ import annotations


class LocalProtocolError(Exception):
    """Our side asked for something that the protocol or the session's state does not allow: a bug in the caller."""


class RemoteProtocolError(Exception):
    """The peer sent bytes that are not X Protocol, out of order, or more of them than our limits allow.

    The session cannot be used after it.
    """


class TurnedAwayError(ConnectionResetError):
    """The peer took the connection and closed it without a byte, as a server does beyond `mysqlx_max_connections`."""


class ServerError(Exception):
    """The server answered with an `Error` message.

    Args:
        code: MySQL's error number, such as 1045 (access denied) or 3032 (offline mode).
        sql_state: five characters, such as "28000".
        message: the server's text.
        fatal: True if the server ends the session with it.
        hint: what to do, where the server's words lead astray.
    """

    def __init__(self, code: int, sql_state: str, message: str, fatal: bool = False, hint: str = "") -> None:
        super().__init__(code, sql_state, message, fatal, hint)
        self.code = code
        self.sql_state = sql_state
        self.message = message
        self.fatal = fatal
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code} ({self.sql_state}): {self.message}" + (f" ({self.hint})" if self.hint else "")
