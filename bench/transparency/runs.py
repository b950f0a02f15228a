"""Runs suites: a standalone server, a router before it, and pytest of the suites' own against the one and the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from bench.demo.run import RW_PORT, START_TIMEOUT, DemoError, Stage
from bench.demo.stage import arrange
from bench.peers.environments import Progress
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.record import Mode
from bench.sandbox.sandbox import Sandbox
from bench.transparency.outcomes import Comparison, Outcomes, compare, read_junit
from bench.transparency.sources import ensure_python, ensure_source
from bench.transparency.suites import DATABASES, Suite, Target

ACCOUNT = "root"  # the one that aiomysql's tests log in as
# Seconds for one run of a whole suite: several times what it takes on two cores.
RUN_TIMEOUT = 1800.0
HTTP_TIMEOUT = 5.0
JOINED = re.compile(r"^fairlead_sessions_joined_total\{.*\} ([\d.]+)$", re.MULTILINE)
# What a suite's directory has and its tests do not need.
UNUSED = shutil.ignore_patterns("doc", "docs", "examples", "*.c", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Bench:
    """A server by itself and the router before it, both running."""

    stage: Stage
    direct: Target
    routed: Target

    def joined(self) -> int:
        """How many sessions the router has joined to the server so far."""
        return sum(int(float(number)) for number in JOINED.findall(_read(self.stage, "/metrics")))


@contextmanager
def standing(directory: Path, progress: Progress = lambda text: None) -> Iterator[Bench]:
    """A server that belongs to no group, its router, and an account of all privileges; gone when the block ends.

    Args:
        directory: for its state; its path is short, since sockets are in it.
        progress: is told what takes time.

    Raises:
        SandboxError: no server can be had here.
        DemoError: the router did not start.
    """
    sandbox = Sandbox(directory / "s", members=1, mode=Mode.REPLICATION, progress=progress)
    stage = None
    try:
        sandbox.up()
        [member] = sandbox.members
        password = sandbox.accounts["app"].password
        for statement in (
            f"CREATE USER {ACCOUNT}@'%' IDENTIFIED BY '{password}'",
            f"GRANT ALL PRIVILEGES ON *.* TO {ACCOUNT}@'%' WITH GRANT OPTION",
            *(f"CREATE DATABASE {name} CHARACTER SET utf8mb4" for name in DATABASES),
        ):
            sandbox.sql(member.name, statement)
        stage = arrange(sandbox, directory)
        start_route(stage, directory)
        direct = Target(member.host, member.port, ACCOUNT, password, str(sandbox.ca_file))
        yield Bench(stage, direct, replace(direct, host=stage.address, port=RW_PORT))
    finally:
        if stage is not None:
            stage.children.end()
        sandbox.down(purge=True)


def start_route(stage: Stage, directory: Path) -> None:
    """Start a router with the one member behind port 6446, as a static route.

    Raises:
        DemoError: it is not ready in time.
    """
    [member] = stage.sandbox.members
    config = directory / "router.toml"
    config.write_text(
        f"""
[routes.rw]
listen = "{stage.address}:{RW_PORT}"
protocol = "classic"
members = ["{member.host}:{member.port}"]

[admin]
listen = "{stage.admin}"
"""
    )
    stage.children.start("router", ["router", "--config", str(config)])

    def ready() -> bool:
        if not stage.children.alive("router"):
            raise DemoError(f"the router did not start; see {stage.children.log('router')}")
        try:
            _read(stage, "/readyz")
        except OSError:
            return False
        return True

    if not wait_until(ready, START_TIMEOUT):
        raise DemoError(f"the router is not ready after {START_TIMEOUT:g} s; see {stage.children.log('router')}")


def _read(stage: Stage, path: str) -> str:
    """A page of the router's; an OSError where it says anything but 200, or nothing."""
    with build_opener(ProxyHandler({})).open(f"http://{stage.admin}{path}", timeout=HTTP_TIMEOUT) as reply:
        return str(reply.read().decode())


def run_suite(suite: Suite, target: Target, work: Path, *, whole: bool) -> Outcomes:
    """Run a suite once, in a copy of its own.

    Args:
        suite: what to run.
        target: where.
        work: a directory for the copy, pytest's words (`out`) and its report; made here.
        whole: all of it, or the short part.

    Raises:
        SandboxError: the suite cannot be had here, or ended without a report.
    """
    python = ensure_python()
    shutil.copytree(ensure_source(suite.sdist), work / "suite", ignore=UNUSED)
    for name, text in suite.files(target).items():
        path = work / "suite" / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    report = work / "report.xml"
    asked = [*(suite.whole if whole else suite.part), *suite.options(target)]
    # What a test is called must not hang on the order of a set.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **suite.environment(target)}
    environment.pop("PYTEST_ADDOPTS", None)
    with (work / "out").open("w") as out:
        argv = [str(python), "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", *asked]
        try:
            subprocess.run(
                argv, cwd=work / "suite", env=environment, stdout=out, stderr=out, timeout=RUN_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise SandboxError(f"a suite did not end within {RUN_TIMEOUT:g} s; see {work / 'out'}") from exc
    if not report.exists():
        raise SandboxError("a suite ended without a report: " + (work / "out").read_text()[-1000:].strip())
    return read_junit(report.read_text(encoding="utf-8"))


def compare_suite(bench: Bench, suite: Suite, work: Path, *, whole: bool, progress: Progress) -> Comparison:
    """Run a suite straight to the server and through the router, and say what differs.

    Where something does, and for a whole suite in any case, it is run straight to the server again, to know what is
    unstable by itself.

    Raises:
        SandboxError: as `run_suite`; or the router was passed by, or not.
    """

    def run(words: str, target: Target) -> Outcomes:
        progress(words)
        before = bench.joined()
        found = run_suite(suite, target, work / words.replace(" ", "-"), whole=whole)
        sessions = bench.joined() - before
        if (sessions > 0) is not (target is bench.routed):
            raise SandboxError(f"the run {words} made {sessions} sessions through the router")
        return found

    direct = [run("direct", bench.direct)]
    routed = run("through the router", bench.routed)
    if whole or not compare((direct[0],), routed).same:
        direct.append(run("direct again", bench.direct))
    return compare(tuple(direct), routed)
