"""Runs the system's small programs (mount, nft, apt-get, …) and turns their failures into words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from bench.sandbox.errors import SandboxError

# An administrator's programs are not on every user's PATH.
SYSTEM_PATH = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
LAST_LINES = 15


def find_program(name: str) -> str | None:
    """Return the absolute path of a program of this machine, or nothing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def need_program(name: str, package: str) -> str:
    """Return the absolute path of a program.

    Args:
        name: the program.
        package: where it is to be had, for the error.

    Raises:
        SandboxError: it is not there.
    """
    path = find_program(name)
    if path is None:
        raise SandboxError(f"`{name}` is needed and not on PATH: install {package}")
    return path


def run_program(argv: Sequence[str], *, environment: Mapping[str, str] | None = None, text: str | None = None) -> str:
    """Run a program to its end and return its standard output.

    Args:
        argv: the program and its arguments; never a password.
        environment: variables on top of this process's.
        text: its standard input.

    Raises:
        SandboxError: it cannot be run or fails.
    """
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            input=text or "",
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
        )
    except OSError as exc:
        raise SandboxError(f"cannot run {argv[0]}: {exc.strerror}") from exc
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:])
        raise SandboxError(f"`{' '.join(argv)[:300]}` failed with status {done.returncode}: {said}")
    return done.stdout
