"""How probes get in, and what each failure is called. Must not know what follows from it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from cluster.observations import Outcome
from cluster.questions import AnswerError
from xproto.errors import RemoteProtocolError, ServerError
from xproto.session import Login, TlsMode

OUTCOME_BY_CODE = {
    1040: Outcome.TOO_MANY,  # ER_CON_COUNT_ERROR
    1044: Outcome.DENIED,  # ER_DBACCESS_DENIED_ERROR
    1045: Outcome.DENIED,  # ER_ACCESS_DENIED_ERROR
    1053: Outcome.REFUSED,  # ER_SERVER_SHUTDOWN
    1142: Outcome.DENIED,  # ER_TABLEACCESS_DENIED_ERROR
    1203: Outcome.TOO_MANY,  # ER_TOO_MANY_USER_CONNECTIONS
    1698: Outcome.DENIED,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1862: Outcome.DENIED,  # ER_MUST_CHANGE_PASSWORD_LOGIN
    3032: Outcome.OFFLINE_MODE,  # ER_SERVER_OFFLINE_MODE
    3118: Outcome.DENIED,  # ER_ACCOUNT_HAS_BEEN_LOCKED
}
# What a probe may raise, besides being cancelled.
FAILURES = (ServerError, RemoteProtocolError, OSError, UnicodeError, AnswerError)


@dataclass(frozen=True, slots=True)
class Access:
    """How probes get in. Without a login they can only tell that something is alive."""

    login: Login | None
    tls: TlsMode = TlsMode.PREFERRED
    ssl_context: ssl.SSLContext | None = None


def name_failure(error: Exception, timeout: float) -> tuple[Outcome, str]:
    """Say what a failed look is called, and why it failed, in words for an operator.

    Args:
        error: one of `FAILURES`.
        timeout: seconds that the look was given.
    """
    match error:
        case TimeoutError():
            return Outcome.TIMEOUT, f"no answer within {timeout:g} s"
        case ServerError():
            return OUTCOME_BY_CODE.get(error.code, Outcome.BROKEN), f"error {error.code}: {error.message}"
        case ssl.SSLError():
            return Outcome.DENIED, f"TLS: {error.reason or error}"
        case OSError():
            return Outcome.REFUSED, error.strerror or str(error)
        case UnicodeError():
            return Outcome.BROKEN, f"not the name of a host: {error}"
        case _:
            return Outcome.BROKEN, str(error)
