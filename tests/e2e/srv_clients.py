"""SRV clients that nobody here wrote, run with a name server of the test's choice and asked where they got to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.connectors import ensure_node, ensure_python
from tests.e2e.publishing import PATIENCE, WITH_MOUNT

PROGRAMS = Path(__file__).parent / "connectors"
# The same for all: the server, and the cipher that the session is encrypted with.
MYSQL_STATEMENT = (
    "SELECT @@server_uuid, VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Ssl_cipher'"
)


@dataclass(frozen=True, slots=True)
class Reached:
    """Where one connection got to."""

    uuid: str
    cipher: str


class Client:
    """One client program.

    Args:
        service: the label of the SRV names that it asks for.
        run: connects COUNT times to a NAME that a NAME SERVER knows; prints pairs of server UUID and cipher as JSON.
    """

    def __init__(self, service: str, run: Callable[[str, int, str], subprocess.CompletedProcess[str]]) -> None:
        self.service = service
        self.run = run

    def reached(self, suffix: str, count: int, nameserver: str) -> list[Reached]:
        """Connect so many times to the name `<service>.<suffix>`; fails if one of them fails."""
        done = self.run(f"{self.service}.{suffix}", count, nameserver)
        assert done.returncode == 0, done.stderr
        found = [Reached(*pair) for pair in json.loads(done.stdout)]
        assert len(found) == count
        return found


def _resolv_conf(nameserver: str) -> str:
    return f"nameserver {nameserver}\noptions timeout:1 attempts:2\n"


def mysql(group: Any, directory: Path) -> Client:
    """The mysql client, a process a connection."""
    root = group.root or Path("/")
    etc = directory / "etc"
    shutil.copytree(root / "etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    (etc / "resolv.conf").unlink(missing_ok=True)
    shutil.copyfile(group.ca_file, etc / "sandbox-ca.pem")
    account = group.accounts["app"]
    checked = ("--ssl-mode=VERIFY_CA", "--ssl-ca=/etc/sandbox-ca.pem")
    words = ("--no-defaults", f"--user={account.user}", "--connect-timeout=5", *checked)
    asking = ("--batch", "--skip-column-names", f"--execute={MYSQL_STATEMENT}")

    def run(name: str, count: int, nameserver: str) -> subprocess.CompletedProcess[str]:
        (etc / "resolv.conf").write_text(_resolv_conf(nameserver), encoding="ascii")
        client = (*group.env()["mysql_client"], *words, f"--dns-srv-name={name}", *asking)
        found = []
        for _ in range(count):
            done = _run((*WITH_MOUNT, str(etc), str(root / "etc"), *client), {"MYSQL_PWD": account.password})
            if done.returncode:
                return done
            found.append(done.stdout.strip().split("\t"))
        return subprocess.CompletedProcess(client, 0, json.dumps(found), "")

    return Client("_mysql._tcp", run)


def python_classic(group: Any, directory: Path) -> Client:
    return _connector("_mysql._tcp", [str(ensure_python()), str(PROGRAMS / "classic.py")], {}, group, directory)


def python_x(group: Any, directory: Path, program: str = "x.py") -> Client:
    return _connector("_mysqlx._tcp", [str(ensure_python()), str(PROGRAMS / program)], {}, group, directory)


def node_x(group: Any, directory: Path) -> Client:
    node, modules = ensure_node()
    environment = {"NODE_PATH": str(modules)}
    return _connector("_mysqlx._tcp", [str(node), str(PROGRAMS / "x.cjs")], environment, group, directory)


CLIENTS = {"mysql": mysql, "python-classic": python_classic, "python-x": python_x, "node-x": node_x}


def _connector(service: str, argv: list[str], environment: dict[str, str], group: Any, directory: Path) -> Client:
    resolv = directory / "resolv.conf"
    account = group.accounts["app"]
    access = {"APP_USER": account.user, "APP_PASSWORD": account.password, "APP_CA": str(group.ca_file)}

    def run(name: str, count: int, nameserver: str) -> subprocess.CompletedProcess[str]:
        resolv.write_text(_resolv_conf(nameserver), encoding="ascii")
        mounted = (*WITH_MOUNT, str(resolv), "/etc/resolv.conf")
        return _run((*mounted, *argv, name, str(count)), access | environment)

    return Client(service, run)


def _run(argv: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | environment
    )
