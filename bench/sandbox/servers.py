"""Where the MySQL server program comes from, and how a member of it is started: two classes of one shape.

They know no network: a network puts its own words before what these return."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import find_program, need_program, run_program
from bench.sandbox.record import ServerKind
from bench.sandbox.server_root import ensure_root

# The first server with the MYSQL communication stack and with statements that say "replication source".
OLDEST_VERSION = (8, 0, 27)
GROUP_PLUGIN = "group_replication.so"
# Without privileges and without a name: no account of a machine has this number (those of people and services are
# given out below it or well above it).
SERVER_ID = 53306
# Where a member sees its own directory, in a mount namespace of its own.
PRIVATE_HOME = "/mnt"

# $0 is the member's directory, $1 its hosts file, $2 the root to mount them in. Other namespaces' names are let go of,
# or this member would keep them alive; the mounts end with the process.
ENTER = (
    'umount --lazy /run/netns/* 2>/dev/null; root="$2"; '
    'mount --bind "$0" "$root/mnt" && mount --bind "$1" "$root/etc/hosts" && shift 2 && exec "$@"'
)


class Server(Protocol):
    """A MySQL server program."""

    kind: ServerKind
    path: Path

    def home(self, directory: Path) -> str:
        """Return how the server sees a member's directory."""

    def launch(self, directory: Path, hosts_file: Path, arguments: Sequence[str]) -> list[str]:
        """Return the argv that becomes a server on a member's directory, without privileges."""

    def tool(self, name: str) -> list[str]:
        """Return the argv prefix that runs `ip` or `nft`."""

    def client(self) -> list[str]:
        """Return the argv prefix that runs the mysql client of this server."""


class PrivateRoot:
    """The server in a private root of the cache; members run in it with chroot."""

    kind = ServerKind.ROOT

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chroot = need_program("chroot", "coreutils")

    def home(self, directory: Path) -> str:
        return PRIVATE_HOME

    def launch(self, directory: Path, hosts_file: Path, arguments: Sequence[str]) -> list[str]:
        drop = [f"--userspec={SERVER_ID}:{SERVER_ID}", "--groups="]
        become = [self._chroot, *drop, str(self.path), "/usr/sbin/mysqld", *arguments]
        return [*_enter(directory, hosts_file, self.path), *become]

    def tool(self, name: str) -> list[str]:
        if name == "ip":
            # It names namespaces by their files, which the root does not have of itself.
            bind = 'mount --rbind /run/netns "$0/run/netns" && exec "$@"'
            return [*_unshare(), "sh", "-c", bind, str(self.path), self._chroot, str(self.path), "/usr/sbin/ip"]
        return [self._chroot, str(self.path), f"/usr/sbin/{name}"]

    def client(self) -> list[str]:
        return [self._chroot, str(self.path), "/usr/bin/mysql"]


class GivenServer:
    """A server program of this machine."""

    kind = ServerKind.GIVEN

    def __init__(self, path: Path) -> None:
        self.path = path

    def home(self, directory: Path) -> str:
        return PRIVATE_HOME if os.geteuid() == 0 else str(directory)

    def launch(self, directory: Path, hosts_file: Path, arguments: Sequence[str]) -> list[str]:
        if os.geteuid() != 0:
            return [str(self.path), *arguments]
        drop = [need_program("setpriv", "util-linux"), f"--reuid={SERVER_ID}", f"--regid={SERVER_ID}", "--clear-groups"]
        return [*_enter(directory, hosts_file, Path("/")), *drop, str(self.path), *arguments]

    def tool(self, name: str) -> list[str]:
        return [need_program(name, "iproute2" if name == "ip" else "nftables")]

    def client(self) -> list[str]:
        beside = self.path.parent.parent / "bin" / "mysql"
        return [str(beside) if beside.exists() else find_program("mysql") or "mysql"]


KINDS: dict[ServerKind, Callable[[Path], Server]] = {ServerKind.ROOT: PrivateRoot, ServerKind.GIVEN: GivenServer}


def choose_server(given: Path | None, progress: Callable[[str], None]) -> Server:
    """Return the server to use: the one given, else a suitable one on PATH, else a private root (made if need be).

    Args:
        given: a mysqld; else the one that FAIRLEAD_MYSQLD names, if any.
        progress: is told what takes time.

    Raises:
        SandboxError: the given one is not suitable, or there is none and none can be fetched.
    """
    named = given or (Path(os.environ["FAIRLEAD_MYSQLD"]) if os.environ.get("FAIRLEAD_MYSQLD") else None)
    if named is not None:
        path = named.resolve()
        flaw = find_flaw(path)
        if flaw:
            raise SandboxError(f"{path} cannot be used: {flaw}; name another with --mysqld or FAIRLEAD_MYSQLD")
        return GivenServer(path)
    found = find_program("mysqld")
    if found:
        path = Path(found).resolve()
        flaw = find_flaw(path)
        if not flaw:
            return GivenServer(path)
        progress(f"not using {path}: {flaw}")
    return PrivateRoot(ensure_root(cache_dir(), progress))


def find_flaw(mysqld: Path) -> str:
    """Say why a server program does not serve; empty when it does."""
    if not os.access(mysqld, os.X_OK):
        return "it is not a program that can be run"
    try:
        said = run_program([str(mysqld), "--no-defaults", "--version"])
        version = parse_version(said)
        if version is None:
            return f"it does not say its version ({said.strip()!r})"
        if version < OLDEST_VERSION:
            return (
                f"it is version {'.'.join(map(str, version))}, and {'.'.join(map(str, OLDEST_VERSION))} is the oldest"
            )
        variables = run_program([str(mysqld), "--no-defaults", "--user=root", "--verbose", "--help"])
    except SandboxError as exc:
        return str(exc)
    match = re.search(r"^plugin-dir\s+(\S+)$", variables, re.MULTILINE)
    if match is None or not (Path(match[1]) / GROUP_PLUGIN).exists():
        return f"it has no plugin {GROUP_PLUGIN}"
    return ""


def parse_version(said: str) -> tuple[int, int, int] | None:
    """Return the version in what `mysqld --version` says; nothing for another kind of server."""
    match = re.search(r"\bVer (\d+)\.(\d+)\.(\d+)", said)
    if match is None or "mariadb" in said.lower():
        return None
    return int(match[1]), int(match[2]), int(match[3])


def _unshare() -> list[str]:
    # As a slave of the host's mounts, this one lets go of what the host unmounts later.
    return [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]


def _enter(directory: Path, hosts_file: Path, root: Path) -> list[str]:
    prefix = str(root).rstrip("/")
    return [*_unshare(), "sh", "-c", ENTER, str(directory), str(hosts_file), prefix]
