"""`make locust`: load by Locust through the router before a real group, with the sample application and Prometheus.

Leaves `report.html` (the figures and what Prometheus saw), `locust.html` (Locust's own) and `figures.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

from bench.demo.run import RO_PORT, RW_PORT, DemoError, Stage
from bench.demo.stage import arrange, free_port, start_publisher, start_router
from bench.locust.report import Plot, page, summary_lines
from bench.locust.scraping import Prometheus, scraping
from bench.peers.environments import Progress, ensure_environment
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import is_alive, send, spawn, wait_gone
from bench.sandbox.sandbox import Sandbox

HERE = Path(__file__).parent
LOCK = HERE.parents[1] / "requirements-locust.lock"
INTERRUPTED = 130  # as shells have it
# Seconds.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
GRACE = 60.0  # for Locust to start, and to end after its time
# What is plotted: title, query, and the label that tells the lines apart.
QUERIES = (
    ("Sessions", "sum by (route) (fairlead_sessions)", "route"),
    ("New sessions a second", "sum by (route) (rate(fairlead_sessions_joined_total[5s]))", "route"),
    ("Bytes a second, to clients", "sum by (route) (rate(fairlead_session_bytes_total{direction='out'}[5s]))", "route"),
    ("Transactions that a member has yet to apply", "fairlead_member_queued_transactions", "member"),
    ("Sessions cut, in all", "sum by (route) (fairlead_sessions_cut_total)", "route"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much and how long. `switchover` moves the primary at half time."""

    users: int = 12
    seconds: int = 60
    switchover: bool = False


def main() -> int:
    """Set all up, run it, leave the report. Status 1: requests failed without a switchover; 2: it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m bench.locust", description=__doc__)
    parser.add_argument("--users", type=int, default=Plan().users, help="all four kinds alike (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=Plan().seconds, help="of load (default: %(default)s)")
    parser.add_argument("--switchover", action="store_true", help="move the primary at half time")
    parser.add_argument("--output", type=Path, default=Path("build/locust"), help="directory for reports and logs")
    args = parser.parse_args()
    output = args.output.resolve() / time.strftime("%Y%m%d-%H%M%S")
    plan = Plan(args.users, args.seconds, args.switchover)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end is Ctrl-C's: everything is struck
    try:
        with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
            sandbox = Sandbox(Path(name) / "s", members=3, progress=_tell)
            try:
                sandbox.up()
                figures = perform(sandbox, plan, output, _tell)
            finally:
                sandbox.down(purge=True)
    except (DemoError, SandboxError) as exc:
        print(f"locust: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("locust: interrupted; what was started has ended", file=sys.stderr)
        return INTERRUPTED
    print("\n".join([*summary_lines(figures), f"report: {output / 'report.html'}"]))
    failed = sum(one["failures"] for one in figures["requests"])
    return 1 if failed and not plan.switchover else 0


def perform(sandbox: Sandbox, plan: Plan, output: Path, progress: Progress) -> dict[str, Any]:
    """Run the plan before a group, leave the reports in `output` (made here), and return the figures.

    Raises:
        SandboxError: the environment, the peers or Locust itself fail.
        DemoError: the router did not start.
    """
    python = ensure_environment("locust", LOCK, "Locust and FastAPI, 60 MB", progress)
    output.mkdir(parents=True)
    stage = arrange(sandbox, output)
    try:
        start_publisher(stage)
        start_router(stage)
        where = f"127.0.0.1:{free_port()}"
        with (
            scraping(stage.admin, where, output / "prometheus") as prometheus,
            sample(stage, python, output) as address,
        ):
            progress(f"{plan.users} users for {plan.seconds} s; Prometheus on {where}, the sample on {address}")
            began = time.time()
            events = _load(stage, plan, python, address, output)
            figures: dict[str, Any] = json.loads((output / "figures.json").read_text(encoding="utf-8"))
            text = page(figures, _plots(prometheus, began), events, "locust.html")
    finally:
        stage.children.end()
    (output / "report.html").write_text(text, encoding="utf-8")
    return figures


@contextmanager
def sample(stage: Stage, python: Path, output: Path) -> Iterator[str]:
    """The sample application with its two URLs, for the length of a block; its address.

    Raises:
        SandboxError: it does not start.
    """
    port = free_port()
    urls = {"db_url_val": _url(stage, RW_PORT), "db_reader_val": _url(stage, RO_PORT)}
    argv = [str(python), "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "--app-dir", str(HERE)]
    process = spawn([*argv, "application:app"], {**os.environ, **urls}, output / "application.log")
    opener = build_opener(ProxyHandler({}))

    def answers() -> bool:
        # That a row comes back means that each replica it may ask has the table; a few in turn.
        try:
            for _ in range(4):
                opener.open(f"http://127.0.0.1:{port}/get", timeout=START_TIMEOUT).close()
        except OSError:
            return not is_alive(process)
        return True

    try:
        if not wait_until(answers, START_TIMEOUT) or not is_alive(process):
            raise SandboxError(f"the sample application does not answer; see {output / 'application.log'}")
        yield f"127.0.0.1:{port}"
    finally:
        send(process, signal.SIGTERM)
        if not wait_gone(process, STOP_TIMEOUT):
            send(process, signal.SIGKILL)


def _load(stage: Stage, plan: Plan, python: Path, address: str, output: Path) -> dict[str, float]:
    """Run Locust, and the switchover at half time; return what happened when."""
    account = stage.account
    environment = {
        "FL_HOST": stage.address,
        "FL_WRITER": str(RW_PORT),
        "FL_READER": str(RO_PORT),
        "FL_USER": account.user,
        "FL_PASSWORD": account.password,
        "FL_DATABASE": account.database,
        "FL_CA": account.ca_file,
        "FL_FIGURES": str(output / "figures.json"),
    }
    load = ["--headless", "--users", str(plan.users), "--spawn-rate", str(plan.users), "--run-time", f"{plan.seconds}s"]
    files = ["--html", str(output / "locust.html"), "--only-summary", "--exit-code-on-error", "0"]
    argv = [str(python), "-m", "locust", "-f", str(HERE / "users.py"), "--host", f"http://{address}", *load, *files]
    events: dict[str, float] = {}
    began = time.monotonic()

    def switch() -> None:
        events["switchover asked for"] = time.monotonic() - began
        stage.sandbox.switch(stage.sandbox.members[1].name)
        events["switchover done"] = time.monotonic() - began

    timer = threading.Timer(plan.seconds / 2, switch)
    if plan.switchover:
        timer.start()
    try:
        with (output / "locust.log").open("w") as log:
            done = subprocess.run(
                argv,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                timeout=plan.seconds + GRACE,
                check=False,
                cwd=output,
            )
    except subprocess.TimeoutExpired as exc:
        raise SandboxError(f"Locust did not end; see {output / 'locust.log'}") from exc
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
    if done.returncode:
        raise SandboxError(f"Locust failed with status {done.returncode}; see {output / 'locust.log'}")
    return events


def _plots(prometheus: Prometheus, began: float) -> list[Plot]:
    return [Plot(title, prometheus.points(query, began, label)) for title, query, label in QUERIES]


def _url(stage: Stage, port: int) -> str:
    account = stage.account
    login = f"{quote(account.user, safe='')}:{quote(account.password, safe='')}"
    tls = f"ssl_ca={quote(account.ca_file)}&ssl_check_hostname=false"
    return f"mysql+pymysql://{login}@{stage.address}:{port}/{account.database}?{tls}"


def _tell(words: str) -> None:
    print(f"locust: {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
