"""TLS modes, and the SSL contexts that keep what each promises. Owns MySQL's words for them; must not know sessions."""

from __future__ import annotations

import ssl
from enum import Enum
from functools import cache
from pathlib import Path


class TlsMode(Enum):
    """Whether the line is encrypted and whom we believe at its other end, in MySQL's words (`--ssl-mode`)."""

    DISABLED = "disabled"  # in clear
    PREFERRED = "preferred"  # encrypted if the server offers it, in clear if not: no guard against an attacker
    REQUIRED = "required"  # encrypted or nothing, whatever the certificate
    VERIFY_CA = "verify-ca"  # and the certificate is signed by our authority, and valid today
    VERIFY_IDENTITY = "verify-identity"  # and it is made out to the name that we connect to

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate is checked."""
        return self in (TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY)


def parse_mode(text: str | None, *, has_authority: bool, option: str) -> TlsMode:
    """Read a mode.

    Args:
        text: one of `TlsMode`'s values; None is what MySQL's own clients do then: verify-ca if they are told an
            authority, else preferred.
        has_authority: whether the file of an authority is given.
        option: what the text comes from, for the error's words.

    Raises:
        ValueError: no such mode.
    """
    if text is None:
        return TlsMode.VERIFY_CA if has_authority else TlsMode.PREFERRED
    try:
        return TlsMode(text.lower())
    except ValueError:
        raise ValueError(f"{option} {text}: wanted one of {', '.join(mode.value for mode in TlsMode)}") from None


def make_context(
    mode: TlsMode,
    *,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    option: str = "--tls",
) -> ssl.SSLContext | None:
    """The context for a mode, its files read now; None for no TLS.

    Args:
        mode: what to promise.
        ca_file: the authorities to believe, as PEM; with the modes that verify, and only with them.
        cert_file: our own certificate and its chain, as PEM, for accounts that ask for one (`REQUIRE X509`).
        key_file: its key, not encrypted; None if it is in the same file.
        option: how the mode's option is called; those of the files are called the same with `-ca`, `-cert` and `-key`
            after it (or `_ca` and so on, where the name has an underscore).

    Raises:
        ValueError: a file that cannot be read or is no such thing, or one too many or too few; names the option.
    """
    ca_option, cert_option, key_option = (_beside(option, part) for part in ("ca", "cert", "key"))
    if mode.verifies and ca_file is None:
        raise ValueError(f"{option} {mode.value}: needs the authority's certificate; name its file with {ca_option}")
    if not mode.verifies and ca_file is not None:
        raise ValueError(
            f"{ca_option} {ca_file}: {mode.value} checks no certificate; set {option} to verify-ca or verify-identity,"
            " or leave the file out"
        )
    if mode is TlsMode.DISABLED and (cert_file or key_file):
        given = f"{cert_option} {cert_file}" if cert_file else f"{key_option} {key_file}"
        raise ValueError(f"{given}: nothing is shown with {option} disabled; leave it out, or choose another mode")
    if key_file is not None and cert_file is None:
        raise ValueError(f"{key_option} {key_file}: the certificate is missing; name its file with {cert_option}")
    if mode is TlsMode.DISABLED:
        return None
    context = _context(mode)
    if ca_file is not None:
        _load_authority(context, ca_file, ca_option)
    if cert_file is not None:
        _load_own(context, cert_file, key_file, cert_option, key_option)
    return context


@cache
def unverified() -> ssl.SSLContext:
    """Encrypts against listeners; any certificate will do, as for MySQL's own clients by default."""
    return _context(TlsMode.REQUIRED)


def _context(mode: TlsMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode is TlsMode.VERIFY_IDENTITY
    context.verify_mode = ssl.CERT_REQUIRED if mode.verifies else ssl.CERT_NONE
    return context


def _load_authority(context: ssl.SSLContext, file: Path, option: str) -> None:
    _readable(file, option)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as exc:
        raise ValueError(f"{option} {file}: not a file of PEM certificates ({_reason(exc)})") from exc


def _load_own(context: ssl.SSLContext, cert: Path, key: Path | None, cert_option: str, key_option: str) -> None:
    _readable(cert, cert_option)
    if key is not None:
        _readable(key, key_option)
    key_told = f"{key_option} {key}" if key is not None else f"{cert_option} {cert}"

    def no_passphrase() -> str:
        raise ValueError(f"{key_told}: the key is encrypted, and nobody is here to be asked for its passphrase")

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except ssl.SSLError as exc:
        told = f"{cert_option} {cert}" + (f", {key_option} {key}" if key is not None else "")
        wanted = "wanted a PEM certificate and the key that belongs to it"
        raise ValueError(f"{told}: {wanted} ({_reason(exc)})") from exc


def _readable(file: Path, option: str) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as exc:
        raise ValueError(f"{option} {file}: {exc.strerror or exc}") from exc


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _beside(option: str, part: str) -> str:
    return f"{option}{'_' if '_' in option else '-'}{part}"
