"""Asks a running router over its HTTP listener. For the command line; must not know what documents mean."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0  # seconds; a router that needs longer for a document of its own state is in trouble
DOCUMENT_LIMIT = 64 << 20  # bytes of one document


class NoRouterError(Exception):
    """No router answers at that address; the message says why."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a router is, and what opens it.

    where: `ADDRESS:PORT`, or a URL. authorization: the header, or empty. ca: file of the authorities to believe, PEM;
    None: the system's. fingerprint: SHA-256 of the certificate, hexadecimal, which is then believed by that alone.
    """

    where: str
    authorization: str = field(default="", repr=False)
    ca: Path | None = None
    fingerprint: str = ""

    @property
    def url(self) -> str:
        """Where, as a URL. What is known of its certificate says that it speaks HTTPS."""
        if "://" in self.where:
            return self.where.rstrip("/")
        return f"{'https' if self.ca or self.fingerprint else 'http'}://{self.where}"


def bearer(token: str) -> str:
    """The header that presents a token."""
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    """The header that presents a user and a password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def fetch(admin: str, path: str) -> dict[str, Any]:
    """One JSON document, where no credential is needed.

    Args:
        admin: `ADDRESS:PORT` of the router's HTTP listener.
        path: such as `/api/v1/topology`.

    Raises:
        NoRouterError: nobody answers, or not with JSON.
    """
    return ask(Door(admin), path)


def ask(door: Door, path: str, method: str = "GET", body: object = None) -> dict[str, Any]:
    """Ask one thing.

    Args:
        door: where.
        path: such as `/api/v1/topology`.
        method: of HTTP.
        body: of the request, as JSON.

    Raises:
        NoRouterError: nobody answers, it is not the one that is meant, or it refuses; or not with JSON.
    """
    try:
        connection = _connect(door)
        try:
            headers = {"Accept": "application/json", "Content-Type": "application/json"}
            if door.authorization:
                headers["Authorization"] = door.authorization
            data = None if body is None else json.dumps(body)
            connection.request(method, f"{urlsplit(door.url).path}{path}", data, headers)
            reply = connection.getresponse()
            text = reply.read(DOCUMENT_LIMIT)
        finally:
            connection.close()
    except (OSError, ValueError, HTTPException) as error:
        raise NoRouterError(getattr(error, "verify_message", "") or str(error) or type(error).__name__) from error
    if reply.status >= 400:
        raise NoRouterError(_refusal(path, reply.status, reply.reason, text))
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NoRouterError(f"{error}: not a Fairlead router?") from error
    if not isinstance(document, dict):
        raise NoRouterError(f"it answers {path} with something else than a JSON object: not a Fairlead router?")
    return document


def _refusal(path: str, status: int, reason: str, text: bytes) -> str:
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"it answers {path} with {status} {reason}: not a Fairlead router?"
    return f"it answers {path} with {status} {reason}: {detail}"


def _connect(door: Door) -> HTTPConnection:
    """A connection to the router that is meant, and no other, before anything is said to it."""
    parts = urlsplit(door.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{door.where} is no address of a router; write ADDRESS:PORT, or https://ADDRESS:PORT")
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    context = ssl.create_default_context(cafile=door.ca)
    if door.fingerprint:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT, context=context)
    connection.connect()
    if door.fingerprint:
        shown = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if shown != door.fingerprint.replace(":", "").lower():
            connection.close()
            raise ValueError(f"its certificate has another fingerprint: {shown}")
    return connection
