"""A private root directory with what looks at a router: a browser and Prometheus' tools. Nothing is installed.

Apart from the other peers, for a browser is large and few tests want one. Each program is run inside it by `chroot`,
with a directory of its own that it sees as `/srv`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.peers.root import DIRECTORIES, FILES, SUITE
from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import need_program, run_program

PACKAGES = (
    "chromium-headless-shell",
    "fonts-dejavu-core",
    "prometheus",
    # Something to stand on, and what the packages' own scripts call.
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "libc-bin",
    "util-linux",
)
BROWSER, PROMTOOL = "/usr/bin/chromium-headless-shell", "/usr/bin/promtool"
# $0 is the directory, $1 the root to mount it in. The mounts end with the process; a browser wants to see processes.
ENTER = 'mount --bind "$0" "$1/srv" && mount -t proc proc "$1/proc" && root="$1" && shift && exec chroot "$root" "$@"'


def ensure_onlookers(progress: Callable[[str], None] = lambda text: None, *, cache: Path | None = None) -> Path:
    """Return the private root, making it first if it is not there.

    Args:
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    refusal = "the browser and promtool can only be unpacked and run by root: run this as root"
    recipe = (SUITE, *PACKAGES)
    where = cache or cache_dir()
    return private_root.ensure(where, "onlookers-root", recipe, lambda work: _build(work, progress), refusal)


def enter(directory: Path) -> list[str]:
    """The words to put before a program of the root and its arguments: it runs in there and sees a directory as `/srv`.

    Raises:
        SandboxError: as `ensure_onlookers`.
    """
    unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
    return [*unshare, "sh", "-c", ENTER, str(directory), str(ensure_onlookers())]


def _build(work: Path, progress: Callable[[str], None]) -> None:
    mirror = private_root.host_mirror("or do without the browser")
    progress(f"fetching a browser and Prometheus from Debian {SUITE} (180 MB, once) into {work.parent}")
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
    for program in (BROWSER, PROMTOOL):
        run_program([need_program("chroot", "coreutils"), str(root), program, "--version"])
