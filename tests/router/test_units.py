"""The systemd units that are shipped: what they must say for the router to do what it promises."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from router.settings import DEFAULT_ROUTES, Settings

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICE, SOCKET = UNITS / "fairlead-router.service", UNITS / "fairlead-router.socket"


class Everything(dict[str, str]):
    """Keeps all values of a key that comes more than once."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self:
            value = [*self[key], *value]
        super().__setitem__(key, value)


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, dict_type=Everything, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(path.read_text())
    return parser


def test_the_service_is_what_the_router_expects() -> None:
    service = unit(SERVICE)["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert service["OOMPolicy"] == "continue", "a worker that dies is replaced, and the others serve on"
    assert service["KillMode"] == "mixed", "workers are told by the main process"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["FileDescriptorStoreMax"]) >= 2 * len(DEFAULT_ROUTES)
    assert float(service["TimeoutStopSec"]) > Settings.model_fields["drain_timeout"].default
    assert service["DynamicUser"] == "yes"


def test_the_sockets_are_the_usual_routes() -> None:
    listening = unit(SOCKET)["Socket"]["ListenStream"].split()
    assert listening == [f"127.0.0.1:{route['port']}" for route in DEFAULT_ROUTES.values()]


def test_systemd_likes_them(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    for path in (SERVICE, SOCKET):  # with a program that there is on every machine
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/bin/fairlead", "/bin/true"))
    argv = [program, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "fairlead-router" in line]
    assert (said, done.returncode) == ([], 0), done.stderr
