"""The ground that the proxies are compared on: one real server, its table, and the records that Fairlead finds it by.

Must not know the proxies. The server is a sandbox of one member; it is there for as long as the context lasts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.demo.children import Children
from bench.peers.root import ensure_peers
from bench.sandbox.certificates import issue
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox
from bench.speed import sysbench, usage
from bench.speed.proxies import HOST, LOAD_CORE, Address, Discovery, Upstream, can_be_static, free_port

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
        server: the server's process.
    """

    upstream: Upstream
    directory: Path
    load: Path
    server: int


@contextmanager
def laid(directory: Path, progress: Callable[[str], None]) -> Iterator[Ground]:
    """Bring the server up, pinned beside the load, with its table; all is gone afterwards.

    Raises:
        SandboxError: it cannot be had here; says why.
    """
    if (os.cpu_count() or 1) < 2:
        raise SandboxError("one core is too few: the proxy needs one to itself")
    ensure_peers(progress)
    with ExitStack() as stack:
        sandbox = Sandbox(directory / "s", members=1, progress=progress)
        stack.callback(sandbox.down, purge=True)
        progress("starting a MySQL server")
        sandbox.up()
        [member] = sandbox.members
        sandbox.sql(member.name, ADMIT_PLAIN)
        server = int((sandbox.layout.member(member.name) / "mysqld.pid").read_text())
        load = directory / "load"
        load.mkdir()
        _write_load_files(sandbox, load)
        sysbench.prepare(load, (member.host, member.port))
        usage.pin(server, (LOAD_CORE,))
        address, x_address = (member.host, member.port), (member.host, member.x_port)
        discovery = None if can_be_static() else publish(sandbox, address, x_address, directory / "records", stack)
        yield Ground(Upstream(address, discovery), directory, load, server)


def _write_load_files(sandbox: Sandbox, load: Path) -> None:
    app = sandbox.accounts["app"]
    options = {
        "db-driver": "mysql",
        "mysql-user": app.user,
        "mysql-password": app.password,
        "mysql-db": str(app.database),
    }
    certificate, key = issue(sandbox.ca_file, sandbox.layout.private / "ca-key.pem", ["sysbench"])
    tls = {"authority": sandbox.ca_file.read_text(), "certificate": certificate, "key": key}
    sysbench.write_files(load, options, tls)


def publish(sandbox: Sandbox, address: Address, x_address: Address, directory: Path, stack: ExitStack) -> Discovery:
    """Publish SRV records of one member with these addresses, for Fairlead; until the stack is unwound."""
    probe = sandbox.accounts["probe"]
    resolver = f"{HOST}:{free_port()}"
    publisher = Children(directory)
    stack.callback(publisher.end)
    member = f"--member={sandbox.members[0].name}={address[0]}:{address[1]}/{x_address[1]}"
    account = ["--probe-user", probe.user, "--probe-password-file", str(probe.password_file)]
    where = ["--domain", DOMAIN, "--listen", resolver]
    publisher.start("publisher", ["srv", "serve", *where, member, "--listed-only", *account])
    usage.pin(publisher.running["publisher"].pid, (LOAD_CORE,))
    return Discovery(DOMAIN, resolver, probe.user, probe.password_file)
