"""The ground that the proxies are compared on: one real server, its table, and the records that Fairlead finds it by.

Must not know the proxies. The server is a sandbox of one member; it is there for as long as the context lasts.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.demo.children import Children
from bench.peers.root import PEERS
from bench.sandbox.certificates import issue
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox
from bench.sandbox.statements import run
from bench.speed import metadata, sysbench, usage
from bench.speed.proxy import HOST, LOAD_CORE, Bootstrap, Discovery, Upstream, free_port

GROUP_MEMBERS = 3
DOMAIN = "speed.fairlead.test"
# The sandbox lets clients in over TLS alone. `app` is in the server's cache once it has logged in so, and then gets in
# without (caching_sha2_password); that is what the rounds in the clear need.
ADMIT_PLAIN = "SET GLOBAL require_secure_transport = OFF"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the rounds need.

    Attributes:
        upstream: where proxies lead.
        directory: with sysbench's files, and room for the proxies'.
        load: the directory that sysbench sees.
        servers: the servers' processes.
    """

    upstream: Upstream
    directory: Path
    load: Path
    servers: tuple[int, ...]


@contextmanager
def laid(directory: Path, progress: Callable[[str], None], *, group: bool = False) -> Iterator[Ground]:
    """Bring the server up, pinned beside the load, with its table; all is gone afterwards.

    Args:
        group: it is the primary of three members, with metadata for MySQL Router and SRV records for Fairlead.

    Raises:
        SandboxError: it cannot be had here; says why.
    """
    need_cores()
    PEERS.ensure(progress)
    with ExitStack() as stack:
        sandbox = Sandbox(directory / "s", members=GROUP_MEMBERS if group else 1, progress=progress)
        stack.callback(sandbox.down, purge=True)
        progress("starting a group" if group else "starting a MySQL server")
        sandbox.up()
        member = sandbox.members[0]  # the primary of a group that was just founded
        servers = [int((sandbox.layout.member(one.name) / "mysqld.pid").read_text()) for one in sandbox.members]
        for one in sandbox.members:
            sandbox.sql(one.name, ADMIT_PLAIN)
        load = directory / "load"
        load.mkdir()
        _write_load_files(sandbox, load)
        sysbench.prepare(load, (member.host, member.port))
        for server in servers:
            usage.pin(server, (LOAD_CORE,))
        discovery = _publish(sandbox, directory / "records", stack) if group else None
        bootstrap = _describe(sandbox) if group else None
        yield Ground(Upstream((member.host, member.port), discovery, bootstrap), directory, load, tuple(servers))


def need_cores() -> None:
    """Refuse to measure where the proxy and the load would share a core.

    Raises:
        SandboxError: they would.
    """
    if (os.cpu_count() or 1) < 2:
        raise SandboxError("one core is too few: the proxy needs one to itself")


def _write_load_files(sandbox: Sandbox, load: Path) -> None:
    app = sandbox.accounts["app"]
    options = {
        "db-driver": "mysql",
        "mysql-user": app.user,
        "mysql-password": app.password,
        "mysql-db": str(app.database),
    }
    certificate, key = _issue(sandbox, "sysbench")
    tls = {"authority": sandbox.ca_file.read_text(), "certificate": certificate, "key": key}
    sysbench.write_files(load, options, tls)


def _issue(sandbox: Sandbox, name: str) -> tuple[str, str]:
    return issue(sandbox.ca_file, sandbox.layout.private / "ca-key.pem", [name])


def _describe(sandbox: Sandbox) -> Bootstrap:
    """Put the metadata into a group that MySQL Router wants to see there."""
    primary, *_ = sandbox.members
    uuids = {row.name: row.uuid for row in sandbox.status().members}
    members = [metadata.Instance(uuids[one.name], one.host, one.port, one.x_port) for one in sandbox.members]
    [[group_name]] = sandbox.sql(primary.name, "SELECT @@group_replication_group_name").rows
    password = secrets.token_urlsafe(12)
    statements = [*metadata.statements(str(group_name), members), *metadata.account_statements("bootstrap", password)]
    admin = sandbox.accounts["admin"]
    run(sandbox.layout.socket(primary.name), admin.user, admin.password, statements)
    return Bootstrap("bootstrap", password, *_issue(sandbox, HOST))


def _publish(sandbox: Sandbox, directory: Path, stack: ExitStack) -> Discovery:
    """Publish SRV records for Fairlead, until the stack is unwound."""
    probe = sandbox.accounts["probe"]
    resolver = f"{HOST}:{free_port()}"
    publisher = Children(directory)
    stack.callback(publisher.end)
    named = [f"--member={one.name}={one.host}:{one.port}/{one.x_port}" for one in sandbox.members]
    account = ["--probe-user", probe.user, "--probe-password-file", str(probe.password_file)]
    where = ["--domain", DOMAIN, "--listen", resolver]
    publisher.start("publisher", ["srv", "serve", *where, *named, "--listed-only", *account])
    usage.pin(publisher.running["publisher"].pid, (LOAD_CORE,))
    return Discovery(DOMAIN, resolver, probe.user, probe.password_file)
