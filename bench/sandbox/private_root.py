"""Private root directories made of Debian packages, and nothing installed on the machine.

The packages come from the mirror that this machine's apt is configured for, with its proxies and keys. They are
downloaded here and unpacked by the caller, who knows what the root is for."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.sandbox.apt_sources import Mirror, find_mirror, first_uri, list_file, source_text
from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import locked, write_atomically
from bench.sandbox.programs import need_program, run_program

# Where the installer and no package makes these links.
MERGED = ("bin", "sbin", "lib", "lib64")
# Files that a package's own script would have made.
COPIES = {"etc/passwd": "usr/share/base-passwd/passwd.master", "etc/group": "usr/share/base-passwd/group.master"}
DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def ensure(cache: Path, kind: str, recipe: Sequence[str], build: Callable[[Path], None], refusal: str) -> Path:
    """Return a private root, making it first if it is not there.

    Args:
        cache: the directory that keeps it, under a name that says what is in it.
        kind: the first part of that name.
        recipe: what it is made of; another recipe is another root.
        build: makes `root` in the directory that it is given; that becomes the root when it returns.
        refusal: what to say to a user who is not root; empty where any user can build it.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    digest = hashlib.sha256(" ".join(recipe).encode()).hexdigest()[:8]
    root = cache / f"{kind}-{digest}"
    if root.is_dir():
        return root
    if refusal and os.geteuid() != 0:
        raise SandboxError(refusal)
    with locked(cache / f"{kind}.lock"):
        if root.is_dir():
            return root
        # Only the holder of the lock makes these: what is there was left by one that was killed.
        for leftover in cache.glob(f"{kind}-*.partial"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f"{root.name}-", suffix=".partial", dir=cache))
        try:
            build(work)
            (work / "root").rename(root)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return root


def host_mirror(remedy: str) -> Mirror:
    """Return the Debian mirror that this machine's apt is configured for.

    Raises:
        SandboxError: there is none; `remedy` says what else can be done.
    """
    etc = Path("/etc/apt")
    parts = etc / "sources.list.d"
    paths = [etc / "sources.list", *sorted((*parts.glob("*.list"), *parts.glob("*.sources")))]
    mirror = find_mirror([(path.name, path.read_text(errors="replace")) for path in paths if path.is_file()])
    if mirror is not None and (mirror_list := list_file(mirror.uri)):
        # Not everything that fetches knows such a list.
        uri = first_uri(Path(mirror_list).read_text()) if Path(mirror_list).is_file() else ""
        mirror = replace(mirror, uri=uri) if uri else None
    if mirror is None:
        raise SandboxError(f"no Debian mirror in /etc/apt to fetch from: add one, {remedy}")
    return mirror


def download(apt: Path, mirror: Mirror, suite: str, packages: Sequence[str]) -> list[Path]:
    """Fetch packages and all that they depend on.

    Args:
        apt: a directory that does not exist yet, for apt's state.

    Returns:
        The archives, sorted by name.
    """
    environment = {"APT_CONFIG": str(_apt_configuration(apt, mirror, suite)), "DEBIAN_FRONTEND": "noninteractive"}
    apt_get = need_program("apt-get", "apt")
    run_program([apt_get, "--quiet", "update"], environment=environment)
    run_program([apt_get, "--quiet", "--yes", "--download-only", "install", *packages], environment=environment)
    return sorted((apt / "cache" / "archives").glob("*.deb"))


def unpack(archives: Sequence[Path], root: Path) -> None:
    """Unpack the archives of a suite that has no package with the links such as /bin -> usr/bin; make those and users.

    Args:
        archives: what `download` returned; among them base-passwd and bash.
        root: does not exist yet.
    """
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    # Not `dpkg-deb --extract`: it would put directories in the place of the links.
    one = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"'
    bash = need_program("bash", "bash")
    for archive in archives:
        run_program([bash, "-o", "pipefail", "-c", one, "unpack", str(archive), str(root)])
    root.chmod(0o755)
    for name, origin in COPIES.items():
        shutil.copyfile(root / origin, root / name)
    if not (root / "usr/bin/sh").is_symlink():
        (root / "usr/bin/sh").symlink_to("bash")
    run_program([need_program("chroot", "coreutils"), str(root), "/usr/sbin/ldconfig"])


def make_devices(root: Path) -> None:
    """Make the few devices that every program expects."""
    for name, (major, minor) in DEVICES.items():
        device = root / "dev" / name
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        device.chmod(0o666)


def _apt_configuration(apt: Path, mirror: Mirror, suite: str) -> Path:
    """Write a configuration with this machine's settings for transfers, and state, sources and hooks of its own."""
    for directory in ("state/lists/partial", "cache/archives/partial", "sources", "parts"):
        (apt / directory).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources" / "mirror.sources").write_text(source_text(mirror, suite))
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
