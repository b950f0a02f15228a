"""Who may do what over HTTP: credentials, and the rules that a request must keep.

Owns the credential files' form, the hashes of passwords, and every reason for turning a request away. Pure; must not
know HTTP libraries, sockets or what operations do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

# scrypt (RFC 7914): 16 MiB and some 50 ms a try, the parameters that its author gives for logins.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 1
SCRYPT_MEMORY = 64 << 20  # bytes that a hash of a file may ask for at most: what OpenSSL is told to refuse beyond
SCRYPT_P_MOST = 16  # times the time of one
SALT_BYTES, HASH_BYTES = 16, 32
TOKEN_LEAST = 16
"""Characters of a token at least: it is compared without being slowed, so it must not be guessable."""


class CredentialError(ValueError):
    """A credential file cannot be used; the message names the line, never what stands there."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is known. Passwords are hashed slowly, tokens are kept as SHA-256."""

    users: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.users or self.tokens)


@dataclass(frozen=True, slots=True)
class Basic:
    """A user and a password (RFC 7617)."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token (RFC 6750)."""

    token: str = field(repr=False)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """A password's line in the users file, without the user: `scrypt$N$R$P$SALT$HASH`."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    made = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${_text(salt)}${_text(made)}"


@cache
def unknown_user() -> str:
    """Compared with where there is no such user, so that an answer takes as long and tells nobody who is known."""
    return hash_password(secrets.token_urlsafe())


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY, dklen=HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _parts(hashed: str) -> tuple[int, int, int, bytes, bytes]:
    name, n, r, p, salt, made = hashed.split("$")
    if name != "scrypt":
        raise ValueError(name)
    return int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(made, validate=True)


def _is_possible(n: int, r: int, p: int) -> bool:
    """Whether scrypt takes these (RFC 7914, section 2), within the memory and time that we allow. A file of many users
    is read at each reload, so nothing is hashed to find out."""
    if not (1 < n <= SCRYPT_MEMORY and 1 <= r <= SCRYPT_MEMORY and 1 <= p <= SCRYPT_P_MOST) or n & (n - 1):
        return False
    taken = 128 * r * (n + p + 2)  # bytes, as OpenSSL reckons them: EVP_PBE_scrypt(3)
    return n.bit_length() <= 16 * r and 128 * r * n <= SCRYPT_MEMORY // 2 and taken <= SCRYPT_MEMORY


def is_password(password: str, hashed: str) -> bool:
    """Whether a password is the one that was hashed. Takes some 50 ms, wherever they differ."""
    n, r, p, salt, made = _parts(hashed)
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), made)


def read_users(text: str) -> dict[str, str]:
    """The users file: a line `USER:HASH` each, as `fairlead router --hash-password USER` writes them.

    Raises:
        CredentialError: a line is of another form.
    """
    users = {}
    for number, (user, hashed) in _lines(text):
        try:
            n, r, p, _, made = _parts(hashed)
            if len(made) != HASH_BYTES or not _is_possible(n, r, p):
                raise ValueError
        except ValueError:
            words = f"line {number}: not USER:HASH; write one with `fairlead router --hash-password {user}`"
            raise CredentialError(words) from None
        users[user] = hashed
    return users


def read_tokens(text: str) -> dict[str, bytes]:
    """The tokens file: a line `NAME:TOKEN` each.

    Raises:
        CredentialError: a line is of another form, or its token is too short.
    """
    tokens = {}
    for number, (name, token) in _lines(text):
        if len(token) < TOKEN_LEAST:
            raise CredentialError(
                f"line {number}: a token needs {TOKEN_LEAST} characters, as `openssl rand -hex 16` has"
            )
        tokens[name] = hashlib.sha256(token.encode()).digest()
    return tokens


def _lines(text: str) -> list[tuple[int, tuple[str, str]]]:
    found: list[tuple[int, tuple[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, rest = line.strip().partition(":")
        if not (name and colon and rest):
            raise CredentialError(f"line {number}: a name, a colon and a secret are wanted")
        if any(name == known for _, (known, _) in found):
            raise CredentialError(f"line {number}: {name} stands there twice")
        found.append((number, (name, rest)))
    if not found:
        raise CredentialError("there is nobody in it")
    return found


def present(authorization: str) -> Basic | Bearer | None:
    """What an `Authorization` header presents; None where that cannot be read."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return Bearer(rest.strip())
    if scheme.lower() == "basic":
        try:
            user, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return Basic(user, password) if colon else None
    return None


def name_of_token(credentials: Credentials, token: str) -> str | None:
    """Whose token it is. All are compared, each in constant time."""
    # aiohttp decodes what is not UTF-8 in a header by surrogates; such a token is nobody's.
    given, found = hashlib.sha256(token.encode(errors="surrogateescape")).digest(), None
    for name, known in credentials.tokens.items():
        if hmac.compare_digest(given, known):
            found = name
    return found


def is_user(credentials: Credentials, presented: Basic) -> bool:
    """Whether user and password belong together. Takes some 50 ms."""
    known = credentials.users.get(presented.user)
    return is_password(presented.password, known or unknown_user()) and known is not None


class Remembered:
    """Passwords that were right a moment ago, so that each costs its 50 ms once; as keyed hashes that die with us."""

    LIMIT = 64  # users at once; the oldest is forgotten

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}

    def knows(self, presented: Basic) -> bool:
        """Whether exactly this was right before."""
        return hmac.compare_digest(self._known.get(presented.user, b""), self._mark(presented))

    def add(self, presented: Basic) -> None:
        """Remember what was right."""
        self._known.pop(presented.user, None)
        self._known[presented.user] = self._mark(presented)
        if len(self._known) > self.LIMIT:
            del self._known[next(iter(self._known))]

    def _mark(self, presented: Basic) -> bytes:
        return hmac.digest(self._key, f"{presented.user}:{presented.password}".encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Asking:
    """What of a request matters to whether it is allowed.

    `caller`: whose credential it has; None where it has none. `by_token`: the credential is a token, which no browser
    sends by itself. `scheme`: of this listener, http or https.
    """

    changes: bool
    caller: str | None
    by_token: bool = False
    presented: bool = False
    host: str = ""
    origin: str = ""
    content_type: str = ""
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a listener demands. `local`: it listens on loopback."""

    local: bool
    anonymous_read: bool
    has_credentials: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is turned away: an HTTP status, and words for people."""

    status: int
    words: str


def deny(rules: Rules, asking: Asking) -> Denial | None:
    """Why a request is not allowed; None where it is."""
    if asking.presented and asking.caller is None:
        return Denial(401, "the credential is not known here")
    if asking.origin and not _same_origin(asking):
        return Denial(403, f"a page of another origin ({asking.origin[:100]}) may not ask")
    if asking.changes:
        return _deny_change(rules, asking)
    if asking.caller is not None:
        return None
    if rules.local and not _is_plain(asking.host):
        # A page could have its own name resolve to 127.0.0.1 and read us through a browser (DNS rebinding).
        return Denial(403, "without a credential the Host must be an IP address or localhost")
    if not (rules.local or rules.anonymous_read):
        return Denial(401, "reading needs a credential here; [admin] anonymous_read = true would allow it to all")
    return None


def _deny_change(rules: Rules, asking: Asking) -> Denial | None:
    if asking.caller is None:
        if not rules.has_credentials:
            return Denial(403, "nobody may change anything: set [admin] tokens_file or users_file")
        return Denial(401, "a change needs a credential")
    if not asking.by_token and asking.content_type.partition(";")[0].strip().lower() != "application/json":
        return Denial(415, "a change with a password needs Content-Type: application/json, which no form can send")
    return None


def _same_origin(asking: Asking) -> bool:
    return asking.origin.lower() == f"{asking.scheme}://{asking.host}".lower()


def _is_plain(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
