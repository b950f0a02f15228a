"""The table for users of MySQL Router: each of its options stands there, and each test that is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from router.admin_settings import AdminSettings
from router.settings import ClusterSettings, RouteSettings, Settings
from router.words import StrategyName

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs" / "mysql-router.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in DOCUMENT.splitlines()
    if line.startswith("| ") and not line.startswith(("| MySQL Router |", "| --- |"))
]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
# What MySQL Router 9.7 calls its options, paths and errors: of its manual, and of what its bootstrap writes.
THERE = """
6446 6447 6448 6449 6450 8443 first-available next-available round-robin round-robin-with-fallback bind_address
max_connections max_total_connections connect_timeout connect_retry_timeout client_connect_timeout max_connect_errors
net_buffer_length connection_sharing connection_sharing_delay client_ssl_mode server_ssl_mode server_ssl_verify
client_ssl_session_cache_size client_ssl_session_cache_timeout wait_for_my_writes wait_for_my_writes_timeout
max_idle_server_connections idle_timeout error_quarantine_threshold error_quarantine_interval ttl use_gr_notifications
unreachable_quorum_allowed_traffic disconnect_on_promoted_to_primary disconnect_on_metadata_unavailable _hidden
_disconnect_existing_sessions_when_hidden read_only_targets host_cache guidelines access_mode router.access_mode
/api/20190715 /router/status /routes /routes/{r}/config health destinations connections blockedHosts /metadata
/metadata/{m}/config /connection_pool/{n}/config /host_cache/config entries /swagger.json 2003 1040 1129 closed
Prometheus reload PROXY metadata readiness weights lag rebalancing check-ins ANSI_QUOTES
"""


@pytest.mark.parametrize("name", THERE.split())
def test_what_mysql_router_has_stands_there(name: str) -> None:
    words = " ".join(there for there, *_ in ROWS)
    assert re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", words)


def test_each_row_says_how_it_stands() -> None:
    assert len(ROWS) > 50
    for there, here, tests in ROWS:
        assert re.match("(works|not applicable|later)\\b", here), there
        assert NAMED.search(tests) or not here.startswith("works"), f"no test shows it: {there}"
        assert not NAMED.sub("", tests).strip(), f"this is no test: {tests}"


def test_each_test_that_is_named_exists() -> None:
    for path, name in NAMED.findall(DOCUMENT):
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_each_option_that_is_named_exists() -> None:
    known = {strategy.value for strategy in StrategyName} | {"all", "connections", "false", "read_replicas", "yes"}
    for table in (AdminSettings, ClusterSettings, RouteSettings, Settings):
        known |= set(table.model_fields)
    for there, here, _ in ROWS:
        options = set(re.findall(r"`([a-z][a-z_-]+)`", here))
        assert options <= known, there
