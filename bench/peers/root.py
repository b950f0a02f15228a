"""A private root with the peers: name servers, etcd, MariaDB with Galera, HAProxy, Prometheus, sysbench.

Debian packages, unpacked and not configured; nothing is installed. Each program is run inside it by `chroot`, with a
directory of its own that it sees as `/srv`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import need_program, run_program

# The versions that the tests and the figures speak of, whatever machine they run on.
SUITE = "bookworm"
PACKAGES = (
    "bind9",
    "bind9-dnsutils",
    "knot",
    "knot-dnsutils",
    "pdns-server",
    "pdns-backend-sqlite3",
    "sqlite3",
    "dnsperf",
    "etcd-server",
    "etcd-client",
    "mariadb-server",
    "mariadb-client",
    "galera-4",
    "rsync",
    "haproxy",
    "prometheus",
    "sysbench",
    # Something to stand on, and what the packages' own scripts call.
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "findutils",
    "gawk",
    "grep",
    "hostname",
    "iproute2",
    "libc-bin",
    "lsof",
    "ncurses-bin",
    "procps",
    "sed",
    "util-linux",
)
DIRECTORIES = ("dev", "etc", "proc", "run", "srv", "sys", "tmp", "var/tmp")
# Mounted over by those who use it.
FILES = ("etc/hosts", "etc/resolv.conf")
# $0 is the directory, $1 the root to mount it in. The mount ends with the process.
ENTER = 'mount --bind "$0" "$1/srv" && root="$1" && shift && exec chroot "$root" "$@"'
# What each is asked for its version with, to see that it runs.
VERSIONS = {
    "usr/sbin/named": "-v",
    "usr/sbin/knotd": "-V",
    "usr/bin/etcd": "--version",
    "usr/sbin/mariadbd": "--version",
    "usr/bin/prometheus": "--version",
    "usr/bin/sysbench": "--version",
}


def ensure_peers(progress: Callable[[str], None] = lambda text: None, *, cache: Path | None = None) -> Path:
    """Return the private root, making it first if it is not there.

    Args:
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    refusal = "the peers' programs can only be unpacked and run by root: run this as root"
    recipe = (SUITE, *PACKAGES)
    return private_root.ensure(cache or cache_dir(), "peers-root", recipe, lambda work: _build(work, progress), refusal)


def enter(directory: Path) -> list[str]:
    """The words to put before a program of the root and its arguments: it runs in there and sees a directory as `/srv`.

    Raises:
        SandboxError: as `ensure_peers`.
    """
    unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
    return [*unshare, "sh", "-c", ENTER, str(directory), str(ensure_peers())]


def _build(work: Path, progress: Callable[[str], None]) -> None:
    mirror = private_root.host_mirror("or do without the peers")
    progress(f"fetching the peers from Debian {SUITE} (150 MB, once) into {work.parent}")
    archives = private_root.download(work / "apt", mirror, SUITE, PACKAGES)
    progress(f"unpacking {len(archives)} packages")
    root = work / "root"
    private_root.unpack(archives, root)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in FILES:
        (root / name).touch()
    private_root.make_devices(root)
    for program, option in VERSIONS.items():
        run_program([need_program("chroot", "coreutils"), str(root), f"/{program}", option])
