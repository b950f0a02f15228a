"""What people write made into an access, and what each failure is called."""

from __future__ import annotations

import argparse
import errno
import re
import ssl

import pytest

from cluster.access import BY_CODE, BY_VERDICT, DETAIL_CHARACTERS, FAILURES, Access, make_access, name_failure
from cluster.commands import CANNOT_TELL, probe
from cluster.observations import Outcome
from cluster.questions import AnswerError
from xproto.errors import RemoteProtocolError, ServerError, TurnedAwayError
from xproto.session import Login, TlsMode

LOGIN = Login("probe", "secret")


def verification(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] sslv3 alert (_ssl.c:2580)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (TimeoutError(), Outcome.TIMEOUT, "no answer within 1.5 s"),
        (ServerError(1045, "HY000", "Access denied."), Outcome.DENIED, "error 1045: Access denied; check the probe's"),
        (ServerError(1045, "HY000", "no", hint="use TLS"), Outcome.DENIED, "error 1045: no; use TLS$"),
        (ServerError(1142, "42000", "SELECT command denied"), Outcome.DENIED, "GRANT SELECT ON performance_schema"),
        (ServerError(3118, "HY000", "Account is locked."), Outcome.LOCKED, "ACCOUNT UNLOCK"),
        (ServerError(1862, "HY000", "expired"), Outcome.LOCKED, "new password"),
        (ServerError(1040, "HY000", "Too many"), Outcome.TOO_MANY, "max_connections"),
        (TurnedAwayError("m:33060 closed"), Outcome.TOO_MANY, "m:33060 closed.*mysqlx_max_connections"),
        (ServerError(3032, "HY000", "offline"), Outcome.OFFLINE_MODE, "^error 3032: offline$"),
        (ServerError(1053, "08S01", "shutdown"), Outcome.SHUTTING_DOWN, "^error 1053: shutdown$"),
        (ServerError(5010, "HY000", "Internal error"), Outcome.SHUTTING_DOWN, "5010"),
        (ServerError(3159, "HY000", "insecure"), Outcome.TLS, "mode other than disabled"),
        (ServerError(5001, "HY000", "tls", hint="no TLS there"), Outcome.TLS, "no TLS there"),
        (ServerError(9999, "HY000", "new"), Outcome.BROKEN, "^error 9999: new$"),
        (verification(10, "certificate has expired"), Outcome.TLS, "^TLS: certificate has expired; renew"),
        (verification(62, "Hostname mismatch"), Outcome.TLS, "choose verify-ca"),
        (verification(18, "self-signed certificate"), Outcome.TLS, "not signed by our authority"),
        (verification(99, "new in OpenSSL"), Outcome.TLS, "^TLS: new in OpenSSL$"),
        (alert("TLSV1_ALERT_UNKNOWN_CA"), Outcome.TLS, "^TLS: tlsv1 alert unknown ca; the server does not accept our"),
        (alert("WRONG_VERSION_NUMBER"), Outcome.TLS, "^TLS: wrong version number$"),
        (ssl.SSLError("no number"), Outcome.TLS, "no number"),
        (ConnectionRefusedError(111, "Connection refused"), Outcome.REFUSED, "^Connection refused$"),
        (ConnectionResetError("m closed the connection"), Outcome.REFUSED, "^m closed the connection$"),
        (UnicodeError("label too long"), Outcome.BROKEN, "not the name of a host"),
        (RemoteProtocolError("a port of the classic protocol"), Outcome.BROKEN, "^a port of the classic protocol$"),
        (AnswerError("no answer"), Outcome.BROKEN, "^no answer$"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_has_its_name_and_its_advice(error: Exception, outcome: Outcome, words: str) -> None:
    assert isinstance(error, FAILURES)
    named, detail = name_failure(error, 1.5)
    assert named is outcome
    assert re.search(words, detail), detail


def test_no_number_means_that_all_is_well() -> None:
    assert {outcome for outcome, _ in BY_CODE.values()}.isdisjoint({Outcome.ANSWERED, Outcome.ALIVE})
    assert all(BY_VERDICT.values())


def test_an_access_by_default() -> None:
    access = make_access(LOGIN)
    assert (access.login, access.tls) == (LOGIN, TlsMode.PREFERRED)
    assert access.ssl_context is not None
    assert make_access(LOGIN, tls="disabled") == Access(LOGIN, TlsMode.DISABLED)


def test_what_is_wrong_is_told_by_the_options_own_name() -> None:
    with pytest.raises(ValueError, match=r"clusters\.a\.probe_tls on: wanted one of"):
        make_access(LOGIN, tls="on", option="clusters.a.probe_tls")
    with pytest.raises(ValueError, match=r"--probe-tls-ca /absent: No such file"):
        make_access(LOGIN, ca="/absent", option="--probe-tls")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tls", "on"], "fairlead probe: --tls on: wanted one of disabled, preferred"),
        (["--tls-ca", "/absent"], "fairlead probe: --tls-ca /absent: No such file"),
        (["--tls-key", "/absent"], "fairlead probe: --tls-key /absent: the certificate is missing"),
    ],
)
def test_the_options_of_fairlead_probe(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    run = probe(parser)
    assert run(parser.parse_args(["127.0.0.1", *options])) == CANNOT_TELL
    assert capsys.readouterr().err.startswith(words)


def test_a_peers_words_are_cut_to_what_a_log_line_may_hold() -> None:
    forged = ServerError(1045, "28000", "no\n2026-01-01 INFO topology v9: all is well\x1b[2J" + "x" * 60_000)
    _, words = name_failure(forged, 1.0)
    assert words.isprintable()
    assert len(words) <= DETAIL_CHARACTERS


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_a_way_that_is_missing_is_not_a_refusal(number: int) -> None:
    assert name_failure(OSError(number, "no way"), 1.0) == (Outcome.TIMEOUT, "no way")
