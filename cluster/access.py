"""How probes get in, and what each failure is called. Must not know what follows from it."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.observations import Outcome
from cluster.questions import AnswerError
from xproto.errors import RemoteProtocolError, ServerError, TurnedAwayError
from xproto.session import Login, TlsMode
from xproto.tls import make_context, parse_mode

# Servers from 5.7 to 9.7 say no more than 1045 where the account demands a certificate.
_DENIED = "check the probe's user and password, and whether the account demands TLS or a certificate (REQUIRE)"
_GRANT = "GRANT SELECT ON performance_schema.* to the probe's account"
_HOST = "the account may not log in from this host, or was locked out after errors (FLUSH HOSTS)"
_EXPIRED = "give the account a new password, or ALTER USER ... PASSWORD EXPIRE NEVER"
_CROWDED = "raise the server's max_connections and mysqlx_max_connections, or end sessions"
_ENDED = "somebody, a timeout or a shutdown ended the session"

#: What a server's error number is called, and what to do about it.
BY_CODE: Mapping[int, tuple[Outcome, str]] = {
    1040: (Outcome.TOO_MANY, _CROWDED),  # ER_CON_COUNT_ERROR
    1041: (Outcome.SHUTTING_DOWN, "or it starts, or is short of memory"),  # ER_OUT_OF_RESOURCES
    1044: (Outcome.DENIED, _GRANT),  # ER_DBACCESS_DENIED_ERROR
    1045: (Outcome.DENIED, _DENIED),  # ER_ACCESS_DENIED_ERROR
    1053: (Outcome.SHUTTING_DOWN, ""),  # ER_SERVER_SHUTDOWN
    1129: (Outcome.DENIED, _HOST),  # ER_HOST_IS_BLOCKED
    1130: (Outcome.DENIED, _HOST),  # ER_HOST_NOT_PRIVILEGED
    1142: (Outcome.DENIED, _GRANT),  # ER_TABLEACCESS_DENIED_ERROR
    1143: (Outcome.DENIED, _GRANT),  # ER_COLUMNACCESS_DENIED_ERROR
    1203: (Outcome.TOO_MANY, _CROWDED),  # ER_TOO_MANY_USER_CONNECTIONS
    1226: (Outcome.TOO_MANY, "raise or remove the account's limits (ALTER USER ... WITH)"),  # ER_USER_LIMIT_REACHED
    1227: (Outcome.DENIED, _GRANT),  # ER_SPECIFIC_ACCESS_DENIED_ERROR
    1251: (Outcome.DENIED, "use an account of caching_sha2_password, over TLS"),  # ER_NOT_SUPPORTED_AUTH_MODE
    1317: (Outcome.REFUSED, _ENDED),  # ER_QUERY_INTERRUPTED: what a killed session gets on its next statement
    1698: (Outcome.DENIED, _DENIED),  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1810: (Outcome.REFUSED, _ENDED),  # ER_IO_READ_ERROR: mysqlx_wait_timeout
    1820: (Outcome.LOCKED, _EXPIRED),  # ER_MUST_CHANGE_PASSWORD
    1862: (Outcome.LOCKED, _EXPIRED),  # ER_MUST_CHANGE_PASSWORD_LOGIN
    2026: (Outcome.TLS, ""),  # CR_SSL_CONNECTION_ERROR: no TLS where it is demanded
    3032: (Outcome.OFFLINE_MODE, ""),  # ER_SERVER_OFFLINE_MODE
    3118: (Outcome.LOCKED, "ALTER USER ... ACCOUNT UNLOCK"),  # ER_ACCOUNT_HAS_BEEN_LOCKED
    3159: (Outcome.TLS, "the server insists on TLS: choose a mode other than disabled"),  # ER_SECURE_TRANSPORT_REQUIRED
    3169: (Outcome.REFUSED, _ENDED),  # ER_SESSION_WAS_KILLED
    3955: (
        Outcome.LOCKED,
        "wait, or ALTER USER ... ACCOUNT UNLOCK",
    ),  # ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_...
    5001: (Outcome.TLS, ""),  # ER_X_CAPABILITIES_PREPARE_FAILED: all that we ever ask to be set is TLS
    5010: (Outcome.SHUTTING_DOWN, ""),  # ER_X_SERVICE_ERROR: the server's own session below the X session is gone
    4151: (Outcome.LOCKED, "ALTER USER ... ACCOUNT UNLOCK"),  # ER_ACCOUNT_HAS_BEEN_LOCKED of MariaDB
}

#: What a server in shutdown says to a session that it has: as it ends it, and to a statement in flight.
LEAVING = frozenset({1053, 5010})

_OTHER_AUTHORITY = "the certificate is not signed by our authority: give us the file of the one that signed it"
#: What to do about a certificate that does not pass, by OpenSSL's X509_V_ERR number.
BY_VERDICT: Mapping[int, str] = {
    9: "the certificate is not valid yet: look at both machines' clocks",  # CERT_NOT_YET_VALID
    10: "renew the certificate and restart the server: its X Plugin reads certificates only then",  # CERT_HAS_EXPIRED
    18: _OTHER_AUTHORITY,  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: _OTHER_AUTHORITY,  # SELF_SIGNED_CERT_IN_CHAIN
    20: _OTHER_AUTHORITY,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _OTHER_AUTHORITY,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    62: "issue a certificate for the name in the member's record, or choose verify-ca",  # HOSTNAME_MISMATCH
    64: "issue a certificate for this address, or choose verify-ca",  # IP_ADDRESS_MISMATCH
}
# The alerts by which a server refuses ours.
_OUR_CERTIFICATE = frozenset(
    {
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    }
)

# A way that is missing says nothing of the server at its end, as a refusal does.
_NO_WAY_THERE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ETIMEDOUT})
DETAIL_CHARACTERS = 300  # of an error's words that are kept: MySQL's longest message of the kind, and our advice

# What a probe may raise, besides being cancelled.
FAILURES = (ServerError, RemoteProtocolError, OSError, UnicodeError, AnswerError)


@dataclass(frozen=True, slots=True)
class Access:
    """How probes get in. Without a login they can only tell that something is alive."""

    login: Login | None
    tls: TlsMode = TlsMode.PREFERRED
    ssl_context: ssl.SSLContext | None = None


def make_access(
    login: Login | None,
    *,
    tls: str | None = None,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    option: str = "--tls",
) -> Access:
    """Make an access of what people write; the files are read now.

    Args:
        login: the probe's account, if there is one.
        tls: a `TlsMode`; None is verify-ca where an authority is given, else preferred.
        ca: the file of the authorities to believe, PEM.
        cert: that of our own certificate, for accounts that ask for one.
        key: that of its key; None if it is in the same file.
        option: what `tls` comes from, as `xproto.tls.make_context` has it.

    Raises:
        ValueError: names the option, what is wrong with it, and what would be right.
    """
    mode = parse_mode(tls, has_authority=ca is not None, option=option)
    files = {
        name: Path(file) if file is not None else None for name, file in (("ca", ca), ("cert", cert), ("key", key))
    }
    context = make_context(mode, ca_file=files["ca"], cert_file=files["cert"], key_file=files["key"], option=option)
    return Access(login, mode, context)


def name_failure(error: Exception, timeout: float) -> tuple[Outcome, str]:
    """Say what a failed look is called, why it failed and what to do, in words for an operator.

    Args:
        error: one of `FAILURES`.
        timeout: seconds that the look was given.
    """
    outcome, words = _name(error, timeout)
    return outcome, _for_one_line(words)


def _name(error: Exception, timeout: float) -> tuple[Outcome, str]:
    match error:
        case TimeoutError():
            return Outcome.TIMEOUT, f"no answer within {timeout:g} s"
        case ServerError():
            outcome, advice = BY_CODE.get(error.code, (Outcome.BROKEN, ""))
            return outcome, _advised(f"error {error.code}: {error.message}", error.hint or advice)
        case ssl.SSLCertVerificationError():
            return Outcome.TLS, _advised(f"TLS: {error.verify_message}", BY_VERDICT.get(error.verify_code, ""))
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or ""  # which only those of OpenSSL have
            advice = "the server does not accept our certificate: have its own authority sign it"
            words = reason.replace("_", " ").lower() or error.strerror or str(error)
            return Outcome.TLS, _advised(f"TLS: {words}", advice if reason in _OUR_CERTIFICATE else "")
        case TurnedAwayError():
            return (
                Outcome.TOO_MANY,
                f"{error}, as a server does beyond mysqlx_max_connections, or while it stops; {_CROWDED}",
            )
        case OSError() if error.errno in _NO_WAY_THERE:
            return Outcome.TIMEOUT, error.strerror or str(error)
        case OSError():
            return Outcome.REFUSED, error.strerror or str(error) or type(error).__name__
        case UnicodeError():
            return Outcome.BROKEN, f"not the name of a host: {error}"
        case _:
            return Outcome.BROKEN, str(error)


def _advised(words: str, advice: str) -> str:
    return f"{words.rstrip('.')}; {advice}" if advice else words


def _for_one_line(words: str) -> str:
    """A peer's words cut to what a log line may hold: it could write others' lines, or very many."""
    return "".join(char if char.isprintable() else " " for char in words[:DETAIL_CHARACTERS])
