"""A private root directory with a MySQL server, its client, MySQL Router, `ip` and `nft`, from Debian's unstable suite.

The packages come from the mirror that this machine's apt is configured for, with its proxies and keys, into a cache
directory; apt runs with a state of its own, and nothing is installed on the machine. They are unpacked and not
configured: a server, a client and two network tools need no more than their files."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.sandbox.apt_sources import TARGET_SUITE, Mirror, find_mirror, source_text
from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import locked, write_atomically
from bench.sandbox.programs import find_program, need_program, run_program

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
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
DIRECTORIES = ("mnt", "dev", "etc", "proc", "sys", "run/netns", "tmp")
REMEDY = "or name a MySQL server of your own with --mysqld or FAIRLEAD_MYSQLD"


def ensure_root(cache: Path, progress: Callable[[str], None]) -> Path:
    """Return the private root, making it first if it is not there.

    Args:
        cache: the directory that keeps it, under a name that says what is in it.
        progress: is told what takes time.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    digest = hashlib.sha256(" ".join((TARGET_SUITE, *PACKAGES)).encode()).hexdigest()[:8]
    root = cache / f"mysql-root-{digest}"
    if root.is_dir():
        return root
    if os.geteuid() != 0:
        raise SandboxError(f"no MySQL server on PATH: run this as root once, which installs a private one, {REMEDY}")
    with locked(cache / "mysql-root.lock"):
        if root.is_dir():
            return root
        # Only the holder of the lock makes these: what is there was left by one that was killed.
        for leftover in cache.glob("mysql-root-*.partial"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f"{root.name}-", suffix=".partial", dir=cache))
        try:
            _build(work, progress)
            (work / "root").rename(root)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return root


def _build(work: Path, progress: Callable[[str], None]) -> None:
    apt_get = find_program("apt-get")
    if apt_get is None:
        raise SandboxError(f"no MySQL server here, and no apt-get to fetch one with: use Debian, {REMEDY}")
    dpkg_deb = need_program("dpkg-deb", "dpkg")
    mirror = _host_mirror()
    progress(f"fetching a MySQL server from Debian {TARGET_SUITE} (80 MB, once) into {work.parent}")
    apt_environment = {"APT_CONFIG": str(_apt_configuration(work / "apt", mirror)), "DEBIAN_FRONTEND": "noninteractive"}
    run_program([apt_get, "--quiet", "update"], environment=apt_environment)
    install = [apt_get, "--quiet", "--yes", "--download-only", "install", *PACKAGES]
    run_program(install, environment=apt_environment)

    archives = sorted((work / "apt" / "cache" / "archives").glob("*.deb"))
    archives.sort(key=lambda path: not path.name.startswith(f"{FIRST_PACKAGE}_"))
    progress(f"unpacking {len(archives)} packages")
    root = work / "root"
    root.mkdir(mode=0o755)
    for archive in archives:
        run_program([dpkg_deb, "--extract", str(archive), str(root)])
    _finish(root)
    for program in ("/usr/sbin/mysqld", "/usr/bin/mysql"):
        run_program([need_program("chroot", "coreutils"), str(root), program, "--version"])


def _host_mirror() -> Mirror:
    etc = Path("/etc/apt")
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    stanzas = sorted((etc / "sources.list.d").glob("*.sources"))
    mirror = find_mirror(
        [path.read_text(errors="replace") for path in lists if path.is_file()],
        [path.read_text(errors="replace") for path in stanzas],
    )
    if mirror is None:
        raise SandboxError(f"no Debian mirror in /etc/apt to fetch a MySQL server from: add one, {REMEDY}")
    return mirror


def _apt_configuration(apt: Path, mirror: Mirror) -> Path:
    """Write a configuration with this machine's settings for transfers, and state, sources and hooks of its own."""
    for directory in ("state/lists/partial", "cache/archives/partial", "sources", "parts"):
        (apt / directory).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources" / "mirror.sources").write_text(source_text(mirror))
    transfers = run_program([need_program("apt-config", "apt"), "dump", "Acquire"])
    own = {
        # The host's configuration files are not read again: their hooks are about the host.
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": apt / "parts",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt / "sources",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": apt / "parts",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        # The dates of the unstable suite's index are of no use on a machine with another clock.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        # The cache may be below a home directory that apt's own user cannot enter.
        "APT::Sandbox::User": "root",
    }
    lines = [line for line in transfers.splitlines() if line.startswith("Acquire::")]
    lines += [f'{name} "{value}";' for name, value in own.items()]
    path = apt / "apt.conf"
    # Transfer settings may hold a proxy's password.
    write_atomically(path, "\n".join(lines) + "\n", 0o600)
    return path


def _finish(root: Path) -> None:
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    run_link = root / "var" / "run"
    if not run_link.exists():
        run_link.symlink_to("/run")
    # What others are mounted over has to be there.
    for name in ("hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    for name, (major, minor) in DEVICES.items():
        device = root / "dev" / name
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        device.chmod(0o666)
    run_program([need_program("chroot", "coreutils"), str(root), "/usr/sbin/ldconfig"])
