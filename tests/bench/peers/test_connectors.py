"""What is locked of the connectors, without installing any."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.peers.connectors import LOCK, NODE_FILES, NODE_PACKAGE, locked_versions

GUIDE = Path(__file__).parents[3] / "docs" / "clients.md"


def test_each_package_is_pinned_with_a_hash_and_names_no_registry() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    assert [entry for entry in entries if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", entry, re.DOTALL)] == []
    lock = json.loads((NODE_PACKAGE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


def test_the_package_and_its_lock_agree() -> None:
    package, lock = (json.loads((NODE_PACKAGE / name).read_text()) for name in NODE_FILES)
    for name, version in package["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version


@pytest.mark.parametrize("name", ["mysql-connector-python", "mysqlx-connector-python", "@mysql/xdevapi"])
def test_the_guide_speaks_of_the_locked_versions(name: str) -> None:
    assert locked_versions()[name] in GUIDE.read_text()
