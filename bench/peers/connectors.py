"""MySQL connectors that nobody here wrote: Python's and Node.js's, each in a private directory of the cache.

Nothing of theirs is ever imported here: they pin an old protobuf, so each is run by an interpreter of its own. What
they are is locked with hashes; where they come from is a matter of this machine's pip and npm.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bench.peers.environments import Progress, ensure_environment
from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import need_program, run_program

LOCK = Path(__file__).parents[2] / "requirements-connectors.lock"
NODE_PACKAGE = Path(__file__).with_name("xdevapi")
NODE_FILES = ("package.json", "package-lock.json")
NODE_SOURCE = "Node.js 14 or newer with npm"


def ensure_python(progress: Progress = lambda text: None, *, cache: Path | None = None) -> Path:
    """Return the Python that has Connector/Python, classic and X, and dnspython; its environment is made if need be.

    Args:
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    return ensure_environment("connectors-python", LOCK, "Connector/Python, 45 MB", progress, cache=cache)


def ensure_node(progress: Progress = lambda text: None, *, cache: Path | None = None) -> tuple[Path, Path]:
    """Return this machine's node, and the directory of modules with Connector/Node.js; that is made if need be.

    Args:
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    node = Path(need_program("node", NODE_SOURCE))
    recipe = tuple((NODE_PACKAGE / name).read_text() for name in NODE_FILES)
    package = private_root.ensure(
        cache or cache_dir(), "connectors-node", recipe, lambda work: _make_package(work, progress), ""
    )
    return node, package / "node_modules"


def locked_versions() -> dict[str, str]:
    """Return the version of each connector by the name of its package."""
    versions = dict(re.findall(r"^(mysqlx?-connector-python)==(\S+)", LOCK.read_text(), re.MULTILINE))
    found = re.search(r'"(@mysql/xdevapi)": "([\d.]+)"', (NODE_PACKAGE / "package.json").read_text())
    return versions | ({found[1]: found[2]} if found else {})


def _make_package(work: Path, progress: Progress) -> None:
    npm = need_program("npm", NODE_SOURCE)
    progress(f"installing Connector/Node.js (1 MB, once) into {work.parent}")
    root = work / "root"
    root.mkdir()
    for name in NODE_FILES:
        shutil.copyfile(NODE_PACKAGE / name, root / name)
    run_program([npm, "ci", "--prefix", str(root), "--ignore-scripts", "--no-audit", "--no-fund"])
