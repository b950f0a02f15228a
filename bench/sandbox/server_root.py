"""A private root directory with a MySQL server, its client, MySQL Router, `ip` and `nft`, from Debian's unstable suite.

The packages are unpacked and not configured: a server, a client and two network tools need no more than their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.sandbox import private_root
from bench.sandbox.errors import SandboxError
from bench.sandbox.programs import find_program, need_program, run_program

SUITE = "sid"  # no other has MySQL
PACKAGES = (
    "mysql-server-core",
    "mysql-client-core",
    "mysql-router",
    "iproute2",
    "nftables",
    # Something to stand on: the directories and their links, users, a shell.
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "libc-bin",
)
# Unpacked first: it has the links such as /lib -> usr/lib that the others are unpacked through.
FIRST_PACKAGE = "base-files"
DIRECTORIES = ("mnt", "dev", "etc", "proc", "sys", "run/netns", "tmp")
REMEDY = "or name a MySQL server of your own with --mysqld or FAIRLEAD_MYSQLD"


def ensure_root(cache: Path, progress: Callable[[str], None]) -> Path:
    """Return the private root, making it first if it is not there.

    Args:
        cache: the directory that keeps it.
        progress: is told what takes time.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    refusal = f"no MySQL server on PATH: run this as root once, which installs a private one, {REMEDY}"
    return private_root.ensure(cache, "mysql-root", (SUITE, *PACKAGES), lambda work: _build(work, progress), refusal)


def _build(work: Path, progress: Callable[[str], None]) -> None:
    if find_program("apt-get") is None:
        raise SandboxError(f"no MySQL server here, and no apt-get to fetch one with: use Debian, {REMEDY}")
    dpkg_deb = need_program("dpkg-deb", "dpkg")
    mirror = private_root.host_mirror(REMEDY)
    progress(f"fetching a MySQL server from Debian {SUITE} (80 MB, once) into {work.parent}")
    archives = private_root.download(work / "apt", mirror, SUITE, PACKAGES)
    archives.sort(key=lambda path: not path.name.startswith(f"{FIRST_PACKAGE}_"))
    progress(f"unpacking {len(archives)} packages")
    root = work / "root"
    root.mkdir(mode=0o755)
    for archive in archives:
        run_program([dpkg_deb, "--extract", str(archive), str(root)])
    _finish(root)
    for program in ("/usr/sbin/mysqld", "/usr/bin/mysql"):
        run_program([need_program("chroot", "coreutils"), str(root), program, "--version"])


def _finish(root: Path) -> None:
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    run_link = root / "var" / "run"
    if not run_link.exists():
        run_link.symlink_to("/run")
    # What others are mounted over has to be there.
    for name in ("hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    private_root.make_devices(root)
    run_program([need_program("chroot", "coreutils"), str(root), "/usr/sbin/ldconfig"])
