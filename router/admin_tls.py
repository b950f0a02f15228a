"""The certificate of the HTTP listener: given, or made at start. Owns the TLS context and its renewal."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import ssl
import subprocess
from pathlib import Path

from router.admin_settings import AdminSettings
from router.settings import SettingsError

log = logging.getLogger("fairlead.admin")

DAYS = 3650  # of a self-signed certificate, which lives as long as the process
OPENSSL_TIMEOUT = 30.0  # seconds for the program to make one


class Certificate:
    """The context that new connections get, which may be renewed under a listener at work."""

    def __init__(self) -> None:
        self.current: ssl.SSLContext | None = None

    def listening(self) -> ssl.SSLContext | None:
        """A context for a listener, which hands each handshake on to the current one; None where there is none.

        The callback is what RFC 6066's server name is for, and is called for clients without one as well.
        """
        if self.current is None:
            return None
        context = self.current

        def renew(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            if self.current is not None:
                connection.context = self.current

        context.sni_callback = renew
        return context


def make_context(admin: AdminSettings) -> ssl.SSLContext:
    """A context with the certificate that the settings want.

    Raises:
        SettingsError: it cannot be had.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if admin.self_signed:
        load_self_signed(context, admin.listen.host)
    else:
        load_given(context, admin)
    return context


def load_given(context: ssl.SSLContext, admin: AdminSettings) -> None:
    """Read the certificate's files; connections from then on have it.

    Raises:
        SettingsError: they cannot be used.
    """
    certificate, key = admin.certificate, admin.key or admin.certificate
    for option, path in (("certificate", certificate), ("key", key)):
        try:
            Path(path or "").open("rb").close()  # to name what ssl does not
        except OSError as exc:
            raise SettingsError(f"admin.{option} {path}: {exc.strerror}") from exc

    def refuse_password() -> str:
        raise SettingsError(
            f"admin.key {key}: is encrypted; write it without a passphrase, readable by the router alone"
        )

    try:
        context.load_cert_chain(str(certificate), str(key), refuse_password)
    except (ssl.SSLError, ValueError) as exc:
        words = "the certificate or its key is no PEM, or they do not belong together"
        raise SettingsError(f"admin.certificate {certificate}: {words}") from exc


def load_self_signed(context: ssl.SSLContext, host: str) -> None:
    """Make a key and a certificate, in memory alone, and log the fingerprint.

    Raises:
        SettingsError: the program openssl is missing, or fails.
    """
    names = f"subjectAltName=IP:{host},IP:127.0.0.1,DNS:localhost,DNS:{socket.gethostname()}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-days", str(DAYS), "-subj", "/CN=fairlead", "-addext", names, "-keyout", "-", "-out", "-"]
    try:
        made = subprocess.run(command, capture_output=True, timeout=OPENSSL_TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError) as exc:
        told = getattr(exc, "stderr", b"") or str(exc).encode()
        why = told.decode(errors="replace").strip().splitlines()[-1:]
        words = f"the program openssl cannot make one ({' '.join(why)}); install it, or set admin.certificate"
        raise SettingsError(f"admin.self_signed: {words}") from exc
    file = os.memfd_create("fairlead-admin-certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, made)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    begin = made.index(b"-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(made[begin:].decode())
    log.info("admin: self-signed certificate, fingerprint %s", hashlib.sha256(der).hexdigest())
