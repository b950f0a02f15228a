"""The Dockerfile, built for real on a minimal Debian, and what is in the image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox.layout import cache_dir
from bench.setup.image_builder import ImageBuilder, image_builder

# The first run fetches and unpacks three times what later ones do; a minute is usual, this is for a slow mirror.
pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
IMAGE = "localhost/fairlead:test"


def why_not() -> str | None:
    if os.geteuid() != 0:
        return "building an image needs root (chroot and mount)"
    for program in ("apt-get", "dpkg-deb", "unshare"):
        if shutil.which(program) is None:
            return f"building an image needs `{program}`: a Debian machine"
    namespaces = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode:
        return "building an image needs the right to mount (CAP_SYS_ADMIN)"
    return None


def installed_packages() -> str:
    return subprocess.run(["dpkg-query", "--show"], capture_output=True, text=True, check=True).stdout


def left_behind(builder: ImageBuilder) -> list[str]:
    """Mounts and processes that have to do with the private root or its images."""
    own = (str(builder.root), str(builder.storage))
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if any(path in line for path in own)]
    roots = [(link.parent.name, _target(link)) for link in Path("/proc").glob("[0-9]*/root")]
    return mounts + [f"process {number} in {root}" for number, root in roots if root.startswith(own)]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # it ended meanwhile
        return ""


@pytest.fixture(scope="module")
def builder() -> Iterator[ImageBuilder]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)

    def progress(words: str) -> None:
        print(f"image: {words}", file=sys.stderr)

    packages = installed_packages()
    with image_builder(cache_dir(), progress) as builder:
        builder.build(ROOT, IMAGE)
        yield builder
        assert builder.buildah("containers", "--quiet") == ""
    assert left_behind(builder) == []
    assert installed_packages() == packages


@pytest.fixture(scope="module")
def config(builder: ImageBuilder) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(builder.buildah("inspect", "--type", "image", IMAGE))
    found: dict[str, Any] = document["OCIv1"]["config"]
    return found


@pytest.fixture(scope="module")
def run(builder: ImageBuilder) -> Iterator[Callable[..., str]]:
    with builder.container(IMAGE) as run:
        yield run


def test_it_runs_the_router_as_an_unprivileged_number(config: dict[str, Any]) -> None:
    assert config["Entrypoint"] == ["fairlead"]
    assert config["Cmd"] == ["router", "--config", "/etc/fairlead/fairlead.toml"]
    user, _, group = config["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in (6446, 6447, 6448, 6449, 8443)}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_entry_point_says_the_version(config: dict[str, Any], run: Callable[..., str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(*config["Entrypoint"], "--version") == f"fairlead {version}\n"


def test_the_router_is_there_with_what_it_imports(run: Callable[..., str]) -> None:
    assert "--config" in run("fairlead", "router", "--help")
    imports = "import aiohttp, google.protobuf, prometheus_client, pydantic, uvloop, dns.resolver"
    modules = "import router.page, router.service, router.worker, srv.server, cluster.watch, xproto.session"
    files = "router.page.load()"
    assert run("/opt/fairlead/bin/python", "-c", f"{imports}\n{modules}\n{files}\nprint('whole')") == "whole\n"


def test_its_user_can_change_nothing_of_it(config: dict[str, Any], run: Callable[..., str]) -> None:
    script = 'id -u; find /opt /usr /etc -writable ! -type l | grep -v "^/etc/resolv.conf$" | head -n 5'
    assert run("sh", "-c", script).split() == [config["User"].partition(":")[0]]


def test_what_built_it_is_not_in_it(run: Callable[..., str]) -> None:
    script = """for name in pip hatchling setuptools mypy pytest; do
        /opt/fairlead/bin/python -c "import $name" 2>/dev/null && echo "$name"
    done
    for path in /src /opt/build /opt/wheel; do [ -e "$path" ] && echo "$path"; done
    for path in /etc/pip.conf /etc/apt/apt.conf.d/99host /run/host/*; do [ -s "$path" ] && echo "$path: not empty"; done
    find /opt/fairlead -path '*/bench/setup' -o -path '*/tests/bench'"""
    assert run("sh", "-c", f"{script}\ntrue") == ""
