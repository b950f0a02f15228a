"""The suites' source distributions and the environment that runs them, in private directories of the cache."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bench.peers.environments import Progress, ensure_environment, pip
from bench.sandbox import private_root
from bench.sandbox.layout import cache_dir
from bench.sandbox.programs import run_program
from bench.transparency.suites import Sdist

LOCK = Path(__file__).parents[2] / "requirements-transparency.lock"


def ensure_python(progress: Progress = lambda text: None, *, cache: Path | None = None) -> Path:
    """Return the Python that runs the suites.

    Raises:
        SandboxError: its environment cannot be made here; says what is missing.
    """
    return ensure_environment("transparency", LOCK, "what runs the suites, 25 MB", progress, cache=cache)


def ensure_source(sdist: Sdist, progress: Progress = lambda text: None, *, cache: Path | None = None) -> Path:
    """Return the unpacked directory of a source distribution, which nobody may change.

    Args:
        sdist: its version and hash are pinned; where it comes from is a matter of this machine's pip.
        progress: is told what takes time.
        cache: the directory that keeps it; else the user's.

    Raises:
        SandboxError: it cannot be had here, or is another file.
    """
    python = ensure_python(progress, cache=cache)

    def build(work: Path) -> None:
        progress(f"fetching the source distribution of {sdist.package} {sdist.version} (once) into {work.parent}")
        wanted = work / "wanted"
        wanted.write_text(f"{sdist.package}=={sdist.version} --hash=sha256:{sdist.sha256}\n", encoding="ascii")
        # pip asks a source distribution for its metadata, with what the environment has for that and nothing fetched.
        source = ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
        run_program([*pip(python, "download"), *source, "--dest", str(work / "sdist"), "--requirement", str(wanted)])
        [archive] = (work / "sdist").iterdir()
        with tarfile.open(archive) as tar:
            tar.extractall(work / "unpacked", filter="data")
        [top] = (work / "unpacked").iterdir()
        top.rename(work / "root")

    return private_root.ensure(cache or cache_dir(), f"sdist-{sdist.package}", (sdist.version, sdist.sha256), build, "")
