"""How one main process becomes the next: what it leaves to it, and the exec.

Owns the form of what is left and its way. The process stays the same one, so its workers stay its children and its
sockets open; all that a fresh program needs is to be told what is what.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from cluster.topology import Topology
from router.forms import read, write
from router.hands import HandState
from router.incidents import Outage
from router.messages import Modes
from router.reports import RouteReport
from router.settings import SettingsError

TRIAL_TIMEOUT = 30.0
"""Seconds for a new version of the program to show that it starts and likes its configuration."""
HEARING = 0.05
"""Seconds for the event loop to hear of a signal that the process has got."""
VARIABLE = "FAIRLEAD_HANDOVER"
HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Signals that wait while there is nobody to hear them: from the exec until handlers are there again."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a main process leaves to the next. Numbers are descriptors."""

    sockets: tuple[int, ...]
    stored: bool  # whether systemd keeps the sockets, too
    memory: int
    rows: Mapping[str, int]
    next_serial: int
    hands: tuple[HandState, ...]
    gone: tuple[RouteReport, ...]
    topologies: Mapping[str, Topology]
    modes: tuple[Modes, ...] = ()
    blocked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # client hosts, by route
    outages: Mapping[str, Outage] = field(default_factory=dict)  # clusters without a primary

    def descriptors(self) -> Iterable[int]:
        """All that must stay open."""
        return [*self.sockets, self.memory, *(hand.link for hand in self.hands)]


def take_over(environment: MutableMapping[str, str]) -> Legacy | None:
    """What the process before left; None where this is the first. Signals wait until `hear_signals`.

    Raises:
        FormError: it left something that this version cannot read.
    """
    variable = environment.pop(VARIABLE, "")
    if not variable:
        return None
    with os.fdopen(int(variable), "rb") as file:
        file.seek(0)
        legacy = read(Legacy, json.load(file))
    for fd in legacy.descriptors():
        os.set_inheritable(fd, False)
    return legacy


async def hold_signals() -> None:
    """Have signals wait from now on; return when those that had come before have been heard."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    await asyncio.sleep(HEARING)  # the event loop reads of them, and calls their handlers in a later turn


def hear_signals() -> None:
    """Let signals come that were held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


def hand_over(legacy: Legacy) -> None:
    """Become a fresh start of the same command. Returns only by an error, and then nothing has changed.

    Signals should be held back before, and everything done that those ask for which had come: see `hold_signals`.

    Raises:
        OSError: the program cannot be run.
    """
    fd = os.memfd_create("fairlead-handover", 0)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(json.dumps(write(legacy)).encode())
        for one in legacy.descriptors():
            os.set_inheritable(one, True)
        os.execve(sys.executable, command(), {**os.environ, VARIABLE: str(fd)})  # noqa: S606 our own command line
    except OSError:
        for one in legacy.descriptors():
            os.set_inheritable(one, False)
        os.close(fd)
        raise


def command() -> list[str]:
    """The command line by which this process was started."""
    return [sys.executable, *sys.orig_argv[1:]]


async def try_out() -> None:
    """Run the command with `--check`: that the program is whole and its configuration valid.

    Raises:
        SettingsError: why not.
    """
    argv = command()
    try:
        trial = await asyncio.create_subprocess_exec(
            *argv, "--check", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError as exc:
        raise SettingsError(f"{argv[0]} cannot be run: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(TRIAL_TIMEOUT):
            _, said = await trial.communicate()
    except TimeoutError:
        trial.kill()
        raise SettingsError(f"the new program did not check its configuration within {TRIAL_TIMEOUT:g} s") from None
    if trial.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        raise SettingsError(f"the new program does not start: {' '.join(last)}")
