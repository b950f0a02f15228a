"""Sets the demonstration's stage and strikes it: the sandbox, the publisher and the router."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from bench.demo.children import Children
from bench.demo.run import DOMAIN, START_TIMEOUT, DemoError, Stage
from bench.sandbox.deadlines import wait_until
from bench.sandbox.sandbox import Sandbox
from cluster.members import Endpoint
from router.admin_settings import ADMIN_PORT
from router.api import NoRouterError, fetch
from router.listener import ListenError, open_socket
from router.settings import DEFAULT_ROUTES

Progress = Callable[[str], None]
SANDBOX = "sandbox"  # below the demonstration's directory
MARK = "demonstration"  # stands there while the sandbox is the demonstration's own, to be deleted with its data


def set_up(directory: Path, progress: Progress) -> Stage:
    """Start everything. What an earlier demonstration left in the directory is ended first.

    Raises:
        DemoError: the publisher or the router did not start.
        SandboxError: the sandbox cannot be had here.
    """
    strike(directory)
    if (directory / SANDBOX).exists():
        raise DemoError(f"{directory / SANDBOX} is not a demonstration's: name another directory with --dir")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARK).touch()
    sandbox = Sandbox(directory / SANDBOX, progress=progress)
    progress("starting three MySQL servers as a group")
    sandbox.up()
    stage = arrange(sandbox, directory)
    start_publisher(stage)
    progress(f"publisher serves the SRV records of {DOMAIN} at {stage.resolver}")
    start_router(stage)
    progress(f"router is ready on {stage.address}")
    return stage


def arrange(sandbox: Sandbox, directory: Path) -> Stage:
    """Choose addresses for a running sandbox; nothing is started."""
    return Stage(sandbox, Children(directory), _free_address(), f"127.0.0.1:{free_port()}")


def start_publisher(stage: Stage) -> None:
    """Publish the group's records, following its roles."""
    members = [f"--member={one.name}={one.host}:{one.port}/{one.x_port}" for one in stage.sandbox.members]
    where = ["--domain", DOMAIN, "--listen", stage.resolver]
    stage.children.start("publisher", ["srv", "serve", *where, *members, *_probe_account(stage)])


def start_router(stage: Stage, *, wait: bool = True, workers: int = 1) -> None:
    """Start a router that knows nothing but the domain, where to ask for it, and the probe account.

    Args:
        wait: return when it offers every member.
        workers: processes that carry sessions.

    Raises:
        DemoError: it does not come to that.
    """
    where = ["--bind", stage.address, "--admin", stage.admin, "--admin-anonymous-read"]
    found = ["--srv", DOMAIN, "--resolver", stage.resolver]
    stage.children.start("router", ["router", *found, *where, *_probe_account(stage), f"--workers={workers}"])
    if wait and not wait_until(lambda: _ready(stage), START_TIMEOUT):
        raise DemoError(f"the router is not ready after {START_TIMEOUT:g} s; see {stage.children.log('router')}")


def _probe_account(stage: Stage) -> list[str]:
    probe = stage.sandbox.accounts["probe"]
    return ["--probe-user", probe.user, "--probe-password-file", str(probe.password_file)]


def strike(directory: Path) -> bool:
    """End everything and leave nothing but logs; say whether there was anything."""
    children = Children(directory)
    ran = bool(children.running)
    children.end()
    if (directory / MARK).exists():
        ran = Sandbox(directory / SANDBOX).down(purge=True) or ran
        (directory / MARK).unlink()
    return ran


def how_to_connect(stage: Stage, directory: Path) -> str:
    """What a person needs to go on with a demonstration that was kept."""
    app = stage.sandbox.accounts["app"]
    return "\n".join(
        [
            f"router         {stage.address}, ports 6446 (read-write), 6447 (read-only), 6448/6449 (X Protocol)",
            f"account        {app.user}, database {app.database}, password in {app.password_file}",
            f"status         fairlead status --admin {stage.admin}; metrics: http://{stage.admin}/metrics",
            f"SRV records    fairlead resolve {DOMAIN} --resolver {stage.resolver}",
            f"members        fairlead sandbox status --dir {stage.sandbox.dir}",
            f"end it         fairlead demo --end --dir {directory}",
        ]
    )


def _ready(stage: Stage) -> bool:
    for name in stage.children.running:
        if not stage.children.alive(name):
            raise DemoError(f"the {name} did not start; see {stage.children.log(name)}")
    try:
        [cluster] = fetch(stage.admin, "/api/v1/topology")["clusters"].values()
    except NoRouterError:
        return False
    return len(cluster["members"]) == len(stage.sandbox.members) and all(one["offered"] for one in cluster["members"])


def _free_address() -> str:
    """A loopback address on which all the router's ports are free: 127.0.0.1, unless another router has it."""
    ports = [int(str(route["port"])) for route in DEFAULT_ROUTES.values()] + [ADMIN_PORT]
    for last in range(1, 255):
        address = f"127.0.0.{last}"
        if all(_can_listen(address, port) for port in ports):
            return address
    raise DemoError(f"no loopback address has ports {', '.join(map(str, ports))} free")


def _can_listen(address: str, port: int) -> bool:
    try:
        open_socket(Endpoint(address, port)).close()
    except ListenError:
        return False
    return True


def free_port() -> int:
    """A UDP and TCP port of 127.0.0.1 that nobody uses now."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if _can_listen("127.0.0.1", port):
            return port
    raise DemoError("no port of 127.0.0.1 is free for DNS over both UDP and TCP")
