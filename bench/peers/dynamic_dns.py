"""Name servers that take updates (RFC 2136) signed with TSIG, on loopback: BIND 9, Knot and PowerDNS.

Owns what each is told about keys, and what they forget; how they run is `nameservers`'s. A server keeps all that it
writes in one directory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.nameservers import NameServer, free_address, start


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key. `secret` is in base64; `algorithm` is spelled as all three servers have it (`hmac-sha256`)."""

    name: str
    secret: str
    algorithm: str = "hmac-sha256"


class DynamicServer:
    """A name server that takes updates of one zone.

    Args:
        program: which, a key of `PROGRAMS`.
        directory: an empty directory of its own.
        zone: the zone that it holds.
        key: may update the zone.
        outsider: a key that it knows, without the right to update.
    """

    def __init__(self, program: str, directory: Path, zone: str, *, key: Key, outsider: Key) -> None:
        self.program = program
        self.address = free_address()
        self._directory = directory
        self._zone = zone
        self._told = PROGRAMS[program](zone, key, outsider)
        self._running: NameServer | None = None

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            SandboxError: it does not; its log is in the text.
        """
        if self._running is not None:
            self._running.start_again(self._zone)
            return
        zones = {self._zone: _zone_file(self._zone)}
        self._running = start(self.program, self._directory, zones, address=self.address, **self._told)

    def stop(self) -> None:
        """End it, where it runs; it is gone when this returns."""
        if self._running is not None:
            self._running.stop()

    def freeze(self) -> None:
        """Stop it without ending it: the kernel goes on taking connections and packets for it."""
        if self._running is not None:
            self._running.freeze()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        if self._running is not None:
            self._running.thaw()

    def lose_updates(self) -> None:
        """Make it what it was at first, as from an old copy. It is not running."""
        for path in self._directory.iterdir():
            if path.name != "log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._running = None

    def serial(self) -> int | None:
        """The zone's serial, or None where it does not answer."""
        return self._running.serial(self._zone) if self._running is not None else None


def _zone_file(zone: str) -> str:
    """The zone as an administrator made it, with names that are nobody else's to touch."""
    return f"""$ORIGIN {zone}.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 1
@ IN NS ns
@ IN TXT "kept"
ns IN A 192.0.2.53
www IN A 192.0.2.80
"""


def _bind(zone: str, key: Key, outsider: Key) -> Mapping[str, Any]:
    keys = "".join(
        f'key "{one.name}" {{ algorithm {one.algorithm}; secret "{one.secret}"; }};\n' for one in (key, outsider)
    )
    return {"config": keys, "each": f"update-policy {{ grant {key.name} zonesub ANY; }};"}


def _knot(zone: str, key: Key, outsider: Key) -> Mapping[str, Any]:
    lines = ["key:"]
    for one in (key, outsider):
        lines += [f"  - id: {one.name}", f"    algorithm: {one.algorithm}", f"    secret: {one.secret}"]
    lines += ["acl:", "  - id: updates", f"    key: {key.name}", "    action: update"]
    return {"config": "\n".join(lines), "each": "acl: updates"}


def _pdns(zone: str, key: Key, outsider: Key) -> Mapping[str, Any]:
    keys: Sequence[Sequence[str]] = [
        ("import-tsig-key", one.name, one.algorithm, one.secret) for one in (key, outsider)
    ]
    return {
        "config": "dnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8",
        "tool": [*keys, ("set-meta", zone, "TSIG-ALLOW-DNSUPDATE", key.name)],
    }


PROGRAMS: Mapping[str, Callable[[str, Key, Key], Mapping[str, Any]]] = {"bind": _bind, "knot": _knot, "pdns": _pdns}
