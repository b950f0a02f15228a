"""`[admin]` of the router's configuration: its options' names, defaults and reasons, and what belongs together."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from cluster.members import Endpoint
from srv.documents import Table, WrongError, address

ADMIN_PORT = 8443


class AdminSettings(Table):
    """`[admin]`: the HTTP listener for metrics, health and the API."""

    listen: Annotated[Endpoint, address(ADMIN_PORT)] = Endpoint("127.0.0.1", ADMIN_PORT)
    enabled: bool = True
    certificate: Path | None = None
    """File of the certificate and its chain, PEM: the listener then speaks HTTPS. A reload reads it again."""
    key: Path | None = None
    """File of its key, PEM, not encrypted. Left out: it is in the same file."""
    self_signed: bool = False
    """HTTPS with a certificate made at each start, by the program openssl. Clients know it by the fingerprint that the
    log has."""
    tokens_file: Path | None = None
    """Lines `NAME:TOKEN`, for programs. What changes something needs a token or a user."""
    users_file: Path | None = None
    """Lines `USER:HASH`, for people; `fairlead router --hash-password USER` writes one."""
    anonymous_read: bool = False
    """Whether everybody may read the API off loopback, where it needs a credential otherwise. On loopback nobody needs
    one. /livez, /readyz and /metrics never do."""
    metrics_listen: Annotated[Endpoint, address(None, "0.0.0.0:9104")] | None = None
    """One more listener, with /metrics, /livez and /readyz alone, over plain HTTP."""

    @property
    def tls(self) -> bool:
        """Whether the listener speaks HTTPS."""
        return self.self_signed or self.certificate is not None

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.listen.host).is_loopback

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://{self.listen}"

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise WrongError("key", "is of no use without admin.certificate")
        if self.self_signed and self.certificate is not None:
            raise WrongError("self_signed", "contradicts admin.certificate; leave one of them out")
        if self.metrics_listen == self.listen:
            raise WrongError("metrics_listen", f"{self.listen} is admin.listen, which has the same pages already")
        for option in ("tokens_file", "users_file"):
            if getattr(self, option) is not None and not self.local and not self.tls and self.enabled:
                raise WrongError(
                    option,
                    f"credentials would cross the network in clear, as admin.listen is {self.listen}; set"
                    " admin.certificate, or admin.self_signed = true, or listen on 127.0.0.1",
                )
        return self
