"""Authentication: what to answer, by mechanism. Pure: no sockets, no state, no protobuf.

A mechanism is one entry of `MECHANISMS`; the next one is another function and another entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha1, sha256

from xproto.errors import RemoteProtocolError

# The size of the server's random challenge, in bytes (SCRAMBLE_LENGTH in MySQL).
_NONCE_BYTES = 20


@dataclass(frozen=True, slots=True)
class Login:
    """Who a session is.

    Raises:
        ValueError: a user, password or schema that the protocol has no form for: a zero byte, or no UTF-8 form.
    """

    user: str
    password: str = field(repr=False)
    schema: str = ""

    def __post_init__(self) -> None:
        for name in ("user", "password", "schema"):
            try:
                allowed = b"\0" not in getattr(self, name).encode()
            except UnicodeEncodeError:
                allowed = False
            if not allowed:
                raise ValueError(f"a {name} that has a zero byte or no UTF-8 form cannot be sent")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One way to authenticate.

    Args:
        name: as the protocol has it.
        needs_tls: True if it shows the password to the server, so that the line must be encrypted.
        start: the data of `AuthenticateStart`.
        answer: the data that answers the server's challenge; None if the mechanism has no challenge.
    """

    name: str
    needs_tls: bool
    start: Callable[[Login], bytes]
    answer: Callable[[Login, bytes], bytes] | None = None


def plain(login: Login) -> bytes:
    """PLAIN: everything at once, password in clear."""
    return b"\0".join(_fields(login))


def sha256_memory(login: Login, nonce: bytes) -> bytes:
    """SHA256_MEMORY: proves the password by its hash, which a server remembers after a PLAIN login."""
    _check_challenge("SHA256_MEMORY", nonce)
    schema, user, password = _fields(login)
    if not password:
        return b"\0".join((schema, user, b""))
    stored = sha256(password).digest()
    mask = sha256(sha256(stored).digest() + nonce).digest()
    return b"\0".join((schema, user, _xor(stored, mask).hex().upper().encode()))


def mysql41(login: Login, nonce: bytes) -> bytes:
    """MYSQL41: proves the password to an account of `mysql_native_password`, which servers before 8.4 may have.

    The answer is SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))), in hexadecimal after an asterisk.
    """
    _check_challenge("MYSQL41", nonce)
    schema, user, password = _fields(login)
    if not password:
        return b"\0".join((schema, user, b""))
    stage = _sha1(password)
    return b"\0".join((schema, user, b"*" + _xor(stage, _sha1(nonce + _sha1(stage))).hex().upper().encode()))


def candidates(offered: Collection[str], *, tls: bool) -> tuple[Mechanism, ...]:
    """The mechanisms to try, in order.

    Args:
        offered: the `authentication.mechanisms` capability as read before TLS, when a server names none that need it.
        tls: True if the line is encrypted.
    """
    fitting = tuple(m for m in MECHANISMS if (tls if m.needs_tls else m.name in offered))
    # Nothing fits: ask all the same, so that the server says in its own words why not.
    return fitting or (SHA256_MEMORY,)


def _fields(login: Login) -> tuple[bytes, bytes, bytes]:
    return login.schema.encode(), login.user.encode(), login.password.encode()


def _check_challenge(mechanism: str, nonce: bytes) -> None:
    if len(nonce) != _NONCE_BYTES:
        raise RemoteProtocolError(f"a challenge of {len(nonce)} bytes; {mechanism} has {_NONCE_BYTES}")


def _sha1(data: bytes) -> bytes:
    # The mechanism's choice, not ours: without TLS it is all that MySQL 5.7 has.
    return sha1(data, usedforsecurity=False).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


SHA256_MEMORY = Mechanism("SHA256_MEMORY", needs_tls=False, start=lambda _: b"", answer=sha256_memory)
MYSQL41 = Mechanism("MYSQL41", needs_tls=False, start=lambda _: b"", answer=mysql41)
PLAIN = Mechanism("PLAIN", needs_tls=True, start=plain)

#: In order of preference: what does not show the password first. Three at most, since the third refused attempt ends
#: the session (seen on 9.7.4).
MECHANISMS: tuple[Mechanism, ...] = (SHA256_MEMORY, MYSQL41, PLAIN)
