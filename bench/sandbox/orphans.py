"""What is left of a sandbox whose directory was deleted while it was up: servers, which are found by their marks, and
the network that they stand in."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from bench.sandbox.daemons import KILL_TIMEOUT, MARK
from bench.sandbox.errors import SandboxError
from bench.sandbox.networks import network_tag, remove_network
from bench.sandbox.processes import PROC, Process, marked, send, wait_gone


def end_orphans(directory: Path) -> bool:
    """End the servers that were started in a directory, and remove their network; say whether there were any.

    Raises:
        SandboxError: one does not end.
    """
    value = re.compile(rf"[0-9a-f-]+:{re.escape(str(directory))}/mysql-[0-8]")
    orphans = [process for process, text in marked(MARK) if value.fullmatch(text) and _is_of_here(process)]
    tags = {tag for process in orphans if (tag := network_tag(process.pid))}
    for process in orphans:
        send(process, signal.SIGKILL)
    for process in orphans:
        if not wait_gone(process, KILL_TIMEOUT):
            raise SandboxError(f"process {process.pid}, which is left of {directory}, does not end")
    for tag in tags:
        remove_network(tag)
    return bool(orphans)


def _is_of_here(process: Process) -> bool:
    """Whether a process is not in a container, where a directory of the same name is another one."""
    try:
        theirs, ours = ((PROC / who / "ns" / "pid").readlink() for who in (str(process.pid), "self"))
        return theirs == ours
    except OSError:
        return False
