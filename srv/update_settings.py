"""How another name server is updated. Owns the settings and the secret's file; must not know messages or sockets."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path

from srv.names import canonical, is_within

# Those that RFC 8945, 6 does not advise against, and that BIND, Knot and PowerDNS all have.
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224")


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """One name server, one zone on it, and the key to it.

    Args:
        server: its IP address, and its port for DNS over TCP.
        zone: the zone on that server which the clusters' domains are in; one of them may be the zone itself.
        key_name: the TSIG key's name, as the server has it.
        secret_file: its first line is the key's secret in base64.
        algorithm: one of `ALGORITHMS`.
        timeout: seconds for one conversation: a look, and the update that follows.
        check_interval: seconds between two looks at names that should be as they were left.
        retry_first: seconds from a first failure to the next try; doubled each time.
        retry_limit: seconds between tries at most.

    Raises:
        ValueError: one of them cannot be; the text says which, and what would be right.
    """

    server: tuple[str, int]
    zone: str
    key_name: str
    secret_file: Path
    algorithm: str = ALGORITHMS[0]
    timeout: float = 5.0
    check_interval: float = 30.0
    retry_first: float = 1.0
    retry_limit: float = 60.0

    def __post_init__(self) -> None:
        host, port = self.server
        try:
            ipaddress.ip_address(host)
        except ValueError as exc:
            raise ValueError(f"server {host!r}: wanted an IP address") from exc
        if not 0 < port < 65536:
            raise ValueError(f"server port {port}: wanted 1 to 65535")
        for what in ("zone", "key_name"):
            try:
                object.__setattr__(self, what, canonical(getattr(self, what)))
            except ValueError as exc:
                raise ValueError(f"{what.replace('_', ' ')}: {exc}") from exc
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {self.algorithm!r}: wanted one of {', '.join(ALGORITHMS)}")
        for what in ("timeout", "check_interval", "retry_first", "retry_limit"):
            if not 0 < (seconds := getattr(self, what)) < math.inf:
                raise ValueError(f"{what} {seconds:g}: wanted a number of seconds above zero")
        if self.retry_first > self.retry_limit:
            raise ValueError(f"retry_first {self.retry_first:g} is above retry_limit {self.retry_limit:g}")

    @property
    def server_text(self) -> str:
        """The server on a log line."""
        host, port = self.server
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def holds(self, domain: str) -> bool:
        """Whether a cluster's domain may be published here."""
        return is_within(domain, self.zone)


def read_secret(path: Path) -> bytes:
    """Read a key's secret from the first line of a file.

    Raises:
        ValueError: it cannot be read or is not base64. The text has none of it.
    """
    try:
        line = path.read_text(encoding="ascii").partition("\n")[0].strip()
    except UnicodeDecodeError:
        line = "?"  # as wrong as anything else
    except OSError as exc:
        raise ValueError(f"secret file {path}: {exc.strerror or exc}") from exc
    try:
        secret = base64.b64decode(line, validate=True)
    except binascii.Error:
        secret = b""
    if not secret:
        raise ValueError(
            f"secret file {path}: its first line must be the key's secret in base64, as it stands between the quotes"
            " in what tsig-keygen prints"
        )
    return secret
