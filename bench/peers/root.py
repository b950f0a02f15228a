"""Private roots with programs of others: name servers, etcd, MariaDB with Galera, HAProxy, Prometheus, sysbench, and
apart from these a browser, for it is large and few tests want one.

Debian packages, unpacked and not configured; nothing is installed. Each program is run inside by `chroot`, with a
directory of its own that it sees as `/srv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import need_program, run_program

# The versions that the tests and the figures speak of, whatever machine they run on.
SUITE = "bookworm"
DIRECTORIES = ("dev", "etc", "proc", "run", "srv", "sys", "tmp", "var/tmp")
# Mounted over by those who use it.
FILES = ("etc/hosts", "etc/resolv.conf")
# $0 is the directory, $1 the root to mount it in. The mounts end with the process; a browser wants to see processes.
ENTER = 'mount --bind "$0" "$1/srv" && mount -t proc proc "$1/proc" && root="$1" && shift && exec chroot "$root" "$@"'


@dataclass(frozen=True, slots=True)
class Root:
    """One private root: made when it is first asked for, then kept in the user's cache.

    Attributes:
        name: its directory's, in the cache.
        what: what is in it, for people.
        size: megabytes to fetch.
        packages: Debian's.
        versions: programs, each with the option that asks for its version: to see that they run.
    """

    name: str
    what: str
    size: int
    packages: Sequence[str]
    versions: Mapping[str, str]

    def ensure(self, progress: Callable[[str], None] = lambda text: None, *, cache: Path | None = None) -> Path:
        """Return its path, making it first if it is not there.

        Args:
            progress: is told what takes time.
            cache: the directory that keeps it; else the user's.

        Raises:
            SandboxError: it cannot be made here; says what is missing.
        """
        refusal = f"{self.what} can only be unpacked and run by root: run this as root"
        recipe = (SUITE, *self.packages)
        return private_root.ensure(
            cache or cache_dir(), self.name, recipe, lambda work: self._build(work, progress), refusal
        )

    def enter(self, directory: Path) -> list[str]:
        """The words before a program of the root and its arguments: it runs in there and sees a directory as `/srv`.

        Raises:
            SandboxError: as `ensure`.
        """
        unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
        return [*unshare, "sh", "-c", ENTER, str(directory), str(self.ensure())]

    def _build(self, work: Path, progress: Callable[[str], None]) -> None:
        mirror = private_root.host_mirror(f"or do without {self.what}")
        progress(f"fetching {self.what} from Debian {SUITE} ({self.size} MB, once) into {work.parent}")
        archives = private_root.download(work / "apt", mirror, SUITE, self.packages)
        progress(f"unpacking {len(archives)} packages")
        root = work / "root"
        private_root.unpack(archives, root)
        for name in DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "tmp").chmod(0o1777)
        for name in FILES:
            (root / name).touch()
        private_root.make_devices(root)
        for program, option in self.versions.items():
            run_program([need_program("chroot", "coreutils"), str(root), program, option])


# Something to stand on, and what the packages' own scripts call.
GROUND = ("base-files", "base-passwd", "bash", "coreutils", "libc-bin", "util-linux")
PEERS = Root(
    name="peers-root",
    what="the peers",
    size=200,
    packages=(
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
        *GROUND,
        "findutils",
        "gawk",
        "grep",
        "hostname",
        "iproute2",
        "lsof",
        "ncurses-bin",
        "procps",
        "sed",
    ),
    versions={
        "/usr/sbin/named": "-v",
        "/usr/sbin/knotd": "-V",
        "/usr/bin/etcd": "--version",
        "/usr/sbin/mariadbd": "--version",
        "/usr/bin/prometheus": "--version",
        "/usr/bin/promtool": "--version",
        "/usr/bin/sysbench": "--version",
    },
)
BROWSER = "/usr/bin/chromium-headless-shell"
BROWSERS = Root(
    name="browser-root",
    what="the browser",
    size=130,
    packages=("chromium-headless-shell", "fonts-dejavu-core", *GROUND),
    versions={BROWSER: "--version"},
)
