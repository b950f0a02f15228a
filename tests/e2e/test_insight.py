"""What a router on a real group shows of itself: metrics, dashboard, alerts, logs, the page with a failover in view."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.demo.drivers import BlockingConnection, DriverError
from bench.demo.run import DOMAIN
from bench.demo.stage import arrange, start_publisher
from bench.peers.root import BROWSERS, PEERS
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import send
from bench.sandbox.sandbox import Sandbox
from tests.e2e.browser import opened
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]
DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGURATION = f"""
[clusters.main]
srv = "{DOMAIN}"
server_metrics = true
server_metrics_interval = 1

[log]
format = "json"
level = "DEBUG"
"""


@pytest.fixture(scope="module")
def browser_root() -> Path:
    try:
        return BROWSERS.ensure()
    except SandboxError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A router that tells all it can, of a group with mysql-0 the primary."""
    sandbox.restore()
    directory = tmp_path_factory.mktemp("insight")
    (directory / "router.toml").write_text(CONFIGURATION)
    stage = arrange(sandbox, directory)
    probe = sandbox.accounts["probe"]
    account = ["--probe-user", probe.user, "--probe-password-file", str(probe.password_file)]
    where = ["--bind", stage.address, "--admin", stage.admin, "--resolver", stage.resolver]
    try:
        start_publisher(stage)
        stage.children.start("router", ["router", "--config", str(directory / "router.toml"), *where, *account])
        until(lambda: values(stage, "mysql_up") == [1, 1, 1], "all members tell their counts")
        yield stage
    finally:
        stage.children.end()
        sandbox.restore()


def scrape(stage: Stage) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{stage.admin}/metrics", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def names(text: str) -> set[str]:
    """The names that queries may use: of families that have no sample yet, too."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = text_string_to_metric_families(text)
    return {family.name + ending for family in families for ending in endings.get(family.type, ("",))}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:fairlead|mysql)_[a-z0-9_]+", re.sub(r'"[^"]*"', "", expression)))


def promtool(directory: Path, *arguments: str, given: str = "") -> None:
    argv = [*PEERS.enter(directory), "/usr/bin/promtool", *arguments]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


def test_promtool_takes_what_is_scraped(stage: Stage, peers: Path, tmp_path: Path) -> None:
    connection = BlockingConnection(stage.address, RW_PORT, stage.account)
    try:
        [before] = values(stage, "fairlead_session_bytes_total", direction="out", route="classic_rw")
        connection.run("SELECT REPEAT('x', 100000)")
        until(
            lambda: (
                values(stage, "fairlead_session_bytes_total", direction="out", route="classic_rw")[0] > before + 100_000
            ),
            "bytes of a live session count",
        )
    finally:
        connection.close()
    text = scrape(stage)
    promtool(tmp_path, "check", "metrics", given=text)
    assert sum(values(stage, "fairlead_connect_seconds_count", route="classic_rw")) >= 1
    for name, labels in POSITIVE:
        found = values(stage, name, **labels)
        assert (len(found), all(one > 0 for one in found)) == (3, True), (name, found)
    assert len(values(stage, "mysql_perf_schema_transactions_remote_in_applier_queue", cluster="main")) == 3


POSITIVE: tuple[tuple[str, dict[str, str]], ...] = (
    ("mysql_global_status_threads_running", {}),
    ("mysql_global_status_queries", {}),
    ("mysql_global_variables_max_connections", {}),
    ("mysql_global_variables_innodb_buffer_pool_size", {"cluster": "main"}),
    ("mysql_global_status_buffer_pool_pages", {"state": "data"}),
)


def values(stage: Stage, name: str, **labels: str) -> list[float]:
    """The value of each series of that name which has these labels."""
    samples = (one for family in text_string_to_metric_families(scrape(stage)) for one in family.samples)
    return [one.value for one in samples if one.name == name and labels.items() <= one.labels.items()]


def test_the_members_count_themselves_over_the_probes_session(stage: Stage) -> None:
    sessions = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_USER = 'probe'"
    for member in stage.sandbox.members:
        # The publisher's and the router's.
        assert stage.sandbox.sql(member.name, sessions).rows == ((2,),)


def test_the_dashboard_asks_for_what_there_is(stage: Stage) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "fairlead.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]
    wanted = set().union(*map(named, queries))
    assert len(wanted) > 25
    assert wanted <= names(scrape(stage)), "these are not in a scrape"


def test_alerts_are_raised_by_what_they_are_for(stage: Stage, peers: Path) -> None:
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    tested = (DEPLOY / "prometheus" / "alerts_test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", rules):
        raised = re.search(rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels", tested)
        assert raised, f"no test has {alert} raised"
    wanted = set().union(*map(named, re.findall(r"expr: (.+)", rules)))
    assert wanted <= names(scrape(stage)), "these are not in a scrape"
    promtool(DEPLOY / "prometheus", "check", "rules", "/srv/alerts.yml")
    promtool(DEPLOY / "prometheus", "test", "rules", "/srv/alerts_test.yml")


def test_logs_are_json_with_sessions_and_without_credentials(stage: Stage) -> None:
    wrong = "wrong-Password-2718"
    BlockingConnection(stage.address, RO_PORT, stage.account).close()
    with pytest.raises(DriverError, match="1045"):
        BlockingConnection(stage.address, RW_PORT, replace(stage.account, password=wrong))
    log = stage.children.log("router")

    def ended() -> bool:
        return any(line.get("route") == "classic_rw" and "session" in line for line in lines(log))

    until(ended, "the end of a session is told")
    for line in lines(log):
        assert {"time", "level", "logger", "event", "message"} <= line.keys()
    text = log.read_text()
    for account in stage.sandbox.accounts.values():
        assert account.password not in text
    assert wrong not in text


def lines(log: Path) -> list[dict[str, object]]:
    """Every line but one that is being written."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_the_page_shows_a_failover_as_it_happens(stage: Stage, browser_root: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(f"http://{stage.admin}/", tmp_path) as page:
            await page.until(writer("mysql-0"), "the primary is shown")
            await page.until("document.querySelectorAll('#routes tr').length === 4", "routes are shown")
            await page.until("document.querySelector('#state').textContent === 'ready'", "it is ready")
            assert await page.evaluate(UNLABELLED) == [], "tables for those who cannot see them"
            assert await page.evaluate("document.querySelector('#events').ariaLive") == "polite"
            await page.evaluate("document.querySelector('#sessions-shown').open = true")
            connection = BlockingConnection(stage.address, RW_PORT, stage.account)
            try:
                await page.until("document.querySelectorAll('#sessions tr').length > 0", "the session is shown")
                await page.evaluate("window.stayed = true")
                await asyncio.to_thread(stage.sandbox.kill, "mysql-0")
                await page.until(f"!({writer('mysql-0')})", "the dead one is no primary any more")
                await page.until(writer("mysql-[12]"), "the new primary is shown")
                await page.until(
                    r"/mysql-[12]\S* takes writes/.test(document.querySelector('#events').innerText)", "told"
                )
                assert await page.evaluate("window.stayed"), "it was not loaded again"
            finally:
                connection.close()
            pictures = {scheme: await page.screenshot(scheme) for scheme in ("light", "dark")}
            for scheme, picture in pictures.items():
                (tmp_path / f"{scheme}.png").write_bytes(picture)
                assert shades(picture) > 20, f"the {scheme} picture is empty"
            assert len({ground(picture) for picture in pictures.values()}) == 2, "dark is not light"
            assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {stage.admin}
            assert [one for one in page.complaints if "/api/v1/events" not in one] == []
            await page.ask("Emulation.setScriptExecutionDisabled", value=True)
            await page.ask("Page.navigate", url=f"http://{stage.admin}/")
            await page.until("document.body?.innerText.includes('without it')", "what there is without JavaScript")

    try:
        asyncio.run(scenario())
    finally:
        stage.sandbox.restore()


UNLABELLED = """
[...document.querySelectorAll('table')].filter((table) => !table.caption || !table.caption.textContent
    || [...table.querySelectorAll('th')].some((cell) => !cell.scope)).map((table) => table.outerHTML)
"""


def writer(name: str) -> str:
    """Whether a row of the page has such a member as primary and offered for writes."""
    row = rf"/^{name}\..*\tPRIMARY\tONLINE\tPRIMARY\t/"
    return f"[...document.querySelectorAll('#clusters tr')].some((row) => {row}.test(row.innerText))"


def pixels(picture: bytes) -> bytes:
    """A PNG's lines, still filtered (PNG specification, section 5)."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    data, at = b"", 8
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4], "big")
        if picture[at + 4 : at + 8] == b"IDAT":
            data += picture[at + 8 : at + 8 + size]
        at += size + 12
    return zlib.decompress(data)


def shades(picture: bytes) -> int:
    return len(set(pixels(picture)))


def ground(picture: bytes) -> bytes:
    """The first pixel, which no filter changes but by zeros."""
    return pixels(picture)[1:4]


def test_a_reload_changes_how_all_processes_log(stage: Stage) -> None:
    log = stage.children.log("router")
    file = log.parent / "router.toml"
    file.write_text(CONFIGURATION.replace('"json"', '"text"'))
    send(stage.children.running["router"], signal.SIGHUP)
    try:
        until(
            lambda: " INFO    reload: log.format json -> text\n" in log.read_text(), "the main process tells it as text"
        )
        ended = re.compile(r"^\S+ DEBUG   session \d+: ended by", re.MULTILINE)

        def told_as_text() -> bool:
            BlockingConnection(stage.address, RW_PORT, stage.account).close()
            return ended.search(log.read_text()) is not None

        until(told_as_text, "so does the worker, of a session that came after it was told")
    finally:
        file.write_text(CONFIGURATION)
        send(stage.children.running["router"], signal.SIGHUP)
    until(lambda: '"message":"reload: log.format text -> json"' in log.read_text(), "and all is as before")
