"""What is true of the repository as a whole: what is in it, what a wheel of it has, what its commands are."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from bench.setup import state_tables

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
COMMANDS: dict[str, str] = PROJECT["project"]["entry-points"]["fairlead.commands"]
# What the wheel leaves out.
NOT_SHIPPED = tuple(f"{path}/" for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"])
FAIRLEAD = Path(sys.executable).with_name("fairlead")

# In two parts each, so that this file has none of them. Which registry serves a machine is the machine's matter.
REGISTRIES = tuple(
    f"{host}.{domain}"
    for host, domain in (
        ("debian", "org"),
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("crates", "io"),
        ("golang", "org"),
    )
)
# Directories of one person's or one machine's. A single letter, as in a test's example, is nobody's name.
PERSONAL = re.compile(r"(?<![\w.$}~])/(?:(?:home|Users)/[\w.-]{2,}|(?:root|work)/[\w.-]+)")
# A module that cannot be named after what it is does more than one thing.
EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"})
# Heavy to import, so not at the top of a `commands` module: `fairlead --help` imports all of these modules.
HEAVY = ("aiohttp", "asyncmy", "cryptography", "dns", "google.protobuf", "kubernetes", "pydantic", "rich", "uvloop")


def tracked_files() -> list[Path]:
    """Files that are in git, or would be after `git add`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository here")
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({path for name in names if name and (path := ROOT / name).is_file()})


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_registry_is_named() -> None:
    pattern = re.compile("|".join(re.escape(host) for host in REGISTRIES))
    assert lines_with(pattern, tracked_files()) == []


def test_no_path_of_a_machine_is_written_down() -> None:
    here = re.compile("|".join(re.escape(str(path)) + r"\b" for path in (ROOT, Path.home()) if len(path.parts) > 2))
    files = tracked_files()
    assert lines_with(PERSONAL, files) == []
    if here.pattern:
        assert lines_with(here, files) == []


# Here a colon stands for the slash, so that this file has no such path.
@pytest.mark.parametrize("text", ["cd :home/ann/fairlead", '":root/x"', "open(':work/a')", ":Users/ann"])
def test_a_path_of_a_machine_is_recognised(text: str) -> None:
    assert PERSONAL.search(text.replace(":", "/"))


@pytest.mark.parametrize("text", ["$ROOT/root/x", "link.parent/root/x", '("[0-9]*/root")', "https://example/home"])
def test_other_paths_are_not_taken_for_one(text: str) -> None:
    assert not PERSONAL.search(text)


def test_no_binary_file_is_tracked() -> None:
    assert [str(path.relative_to(ROOT)) for path in tracked_files() if b"\0" in path.read_bytes()] == []


def test_modules_have_names_that_say_what_they_are() -> None:
    assert [path.name for path in tracked_files() if path.suffix == ".py" and path.stem in EMPTY_NAMES] == []


def test_generated_code_is_of_the_definitions() -> None:
    check = [sys.executable, "-m", "xproto.generate", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_installed_commands_are_those_of_the_project() -> None:
    assert {entry.name: entry.value for entry in entry_points(group="fairlead.commands")} == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_registers_itself_and_says_what_it_is(name: str) -> None:
    module, _, attribute = COMMANDS[name].partition(":")
    register = getattr(import_module(module), attribute)
    assert re.match(r"[A-Z].+\.$", (register.__doc__ or "").partition("\n")[0])
    parser = argparse.ArgumentParser()
    assert callable(register(parser))
    assert "usage:" in parser.format_help()


def test_help_names_every_command() -> None:
    done = subprocess.run([FAIRLEAD, "--help"], capture_output=True, text=True, check=True)
    assert [name for name in COMMANDS if not re.search(rf"^ +{name} +\S", done.stdout, re.MULTILINE)] == []
    assert done.stderr == ""


def test_the_version_is_that_of_the_project() -> None:
    done = subprocess.run([FAIRLEAD, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fairlead {PROJECT['project']['version']}\n"


def test_commands_are_cheap_to_import() -> None:
    modules = sorted({target.partition(":")[0] for target in COMMANDS.values()})
    script = (
        f"import sys\nfor name in {modules!r}: __import__(name)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def pins(lock: str) -> dict[str, str]:
    """Pinned versions by package; fails for a line that has no hash, as `pip --require-hashes` would."""
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    return dict(re.match(r"([a-z0-9.-]+)==(\S+)", entry).groups() for entry in entries)  # type: ignore[union-attr,misc]


def test_the_locks_agree() -> None:
    development = pins("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-build.lock"):
        assert pins(lock).items() <= development.items()


def test_the_lock_has_what_the_project_asks_for() -> None:
    wanted = {re.match(r"[\w-]+", line)[0].lower() for line in PROJECT["project"]["dependencies"]}  # type: ignore[index]
    assert wanted <= pins("requirements.lock").keys()


def test_a_wheel_has_the_packages_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in tracked_files():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(build, cwd=source, capture_output=True, text=True, check=True)
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    top = {name.partition("/")[0] for name in names}
    assert top == {*PACKAGES, f"fairlead-{PROJECT['project']['version']}.dist-info"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"xproto/mysqlx.proto", "xproto/mysqlx_pb2.py", "xproto/mysqlx_pb2.pyi"} <= names
    assert [name for name in names if name.startswith(("tests/", *NOT_SHIPPED))] == []
    ours = {str(path.relative_to(source)) for one in PACKAGES for path in (source / one).rglob("*") if path.is_file()}
    shipped = {name for name in ours if not name.startswith(NOT_SHIPPED)}
    assert shipped <= names
    assert {Path(name).suffix for name in shipped} == {".py", ".pyi", ".typed", ".proto", ".html", ".css", ".js"}


def test_make_help_lists_every_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    phony = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    # This may itself have been started by make, whose settings would be taken for ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = ["make", "-C", str(ROOT), "--no-print-directory", "help"]
    listed = subprocess.run(make, env=environment, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == set(phony)
    assert {"demo", "test", "check", "venv", "lock", "proto", "clean", "help"} <= set(phony)


def test_nothing_is_decided_by_the_wall_clock() -> None:
    """A step of the clock must do no harm: ages and deadlines are monotonic, and only a zone's first serial is not."""
    asking = re.compile(r"\btime\.time\b|datetime\.(now|utcnow)|\bfrom time import\b")
    shipped = [path for package in ("xproto", "cluster", "srv", "router") for path in (ROOT / package).glob("*.py")]
    assert {path.name for path in shipped if asking.search(path.read_text())} == {"controller.py", "moments.py"}


def test_the_state_tables_are_what_the_code_says() -> None:
    assert state_tables.FILE.read_text(encoding="utf-8") == state_tables.write(), "run `make docs`"


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text()
