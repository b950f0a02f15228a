"""A private root directory with `buildah` and `debootstrap`: Debian packages, unpacked and not configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.sandbox import private_root
from bench.sandbox.apt_sources import Mirror
from bench.sandbox.programs import need_program, run_program

# The suite of the Dockerfile's base image, so that a build depends as little as possible on the machine it runs on.
SUITE = "bookworm"
PACKAGES = (
    "buildah",
    # Makes the base image; what follows is what it and this package's own scripts call.
    "debootstrap",
    "debian-archive-keyring",
    "gpgv",
    "wget",
    "xz-utils",
    "dpkg",
    "perl-base",
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "mount",
    "sed",
    "tar",
    "util-linux",
)
# Mounted over by `image_builder`.
DIRECTORIES = ("dev", "host", "proc", "run", "sys", "tmp", "var/lib/containers")
FILES = ("etc/hosts", "etc/resolv.conf")


def ensure_builder_root(cache: Path, mirror: Mirror, progress: Callable[[str], None]) -> Path:
    """Return the private root, making it first if it is not there.

    Args:
        cache: the directory that keeps it.
        mirror: the archive to fetch from.
        progress: is told what takes time.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    refusal = "a private buildah can only be installed and run by root: run this as root"
    recipe = (SUITE, *PACKAGES)
    return private_root.ensure(cache, "builder-root", recipe, lambda work: _build(work, mirror, progress), refusal)


def _build(work: Path, mirror: Mirror, progress: Callable[[str], None]) -> None:
    progress(f"fetching buildah from Debian {SUITE} (60 MB, once) into {work.parent}")
    archives = private_root.download(work / "apt", mirror, SUITE, PACKAGES)
    progress(f"unpacking {len(archives)} packages")
    root = work / "root"
    private_root.unpack(archives, root)
    _finish(root)
    run_program([need_program("chroot", "coreutils"), str(root), "/usr/bin/buildah", "--version"])


def _finish(root: Path) -> None:
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (root / name).touch()
