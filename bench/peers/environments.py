"""Python environments of their own for programs that are not ours, each in a private directory of the cache.

What is in them is locked with hashes; where it comes from is a matter of this machine's pip. Nothing of them is ever
imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import run_program

Progress = Callable[[str], None]


def ensure_environment(
    kind: str, lock: Path, words: str, progress: Progress = lambda text: None, *, cache: Path | None = None
) -> Path:
    """Return the Python that has what a lock names; its environment is made if need be.

    Args:
        kind: the first part of its name in the cache.
        lock: a requirements file with hashes.
        words: what is installed, for people.
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    # An environment is of one Python, to which it holds a link.
    recipe = (f"{sys.version_info.major}.{sys.version_info.minor}", sys.base_prefix, lock.read_text())

    def build(work: Path) -> None:
        progress(f"installing {words} (once) into {work.parent}")
        _make(work / "root", lock)

    return private_root.ensure(cache or cache_dir(), kind, recipe, build, "") / "bin" / "python"


def pip(python: Path, action: str) -> list[str]:
    """The words that have this interpreter's pip do something for another environment, quietly."""
    quietly = ["--quiet", "--disable-pip-version-check", "--no-input"]
    return [sys.executable, "-m", "pip", "--python", str(python), action, *quietly]


def _make(root: Path, lock: Path) -> None:
    run_program([sys.executable, "-m", "venv", "--without-pip", str(root)])
    install = [*pip(root / "bin" / "python", "install"), "--root-user-action=ignore"]
    # Wheels alone: they run no code of theirs while they are installed.
    run_program([*install, "--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(lock)])
