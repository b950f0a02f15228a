"""What systemd is told of the router's state (sd_notify(3)): a datagram, where it asked to be told. Never an error."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence

log = logging.getLogger("fairlead.router")


class Notifier:
    """Tells whoever started us, if they listen.

    Args:
        environment: has NOTIFY_SOCKET, and WATCHDOG_USEC with WATCHDOG_PID.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        ours = usec.isdigit() and pid in ("", str(os.getpid()))
        self.watchdog = int(usec) / 2e6 if ours else 0.0
        """Seconds between signs of life: half of what systemd waits for; 0: it does not."""

    def ready(self) -> None:
        """We serve."""
        self._tell(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=serving")

    def reloading(self) -> None:
        """We are about to serve something else; `ready` follows whatever comes of it."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        """We drain."""
        self._tell("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """A sign of life, for the watchdog."""
        self._tell("WATCHDOG=1")

    def store(self, name: str, fds: Sequence[int]) -> bool:
        """Have descriptors kept for the next start of the unit; say whether anybody may."""
        return bool(fds) and self._tell(f"FDSTORE=1\nFDNAME={name}", fds)

    def unstore(self, name: str) -> None:
        """Have them dropped."""
        self._tell(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def _tell(self, text: str, fds: Sequence[int] = ()) -> bool:
        if not self._address:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendmsg([text.encode()], ancillary, 0, address)
            return True
        log.debug("systemd could not be told: %s", text.partition("\n")[0])
        return False


def name_of(address: str) -> str:
    """An address as a descriptor's name: no colon, and at most 255 characters (sd_pid_notify_with_fds(3))."""
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in address)[:255]
