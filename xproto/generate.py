"""Writes the generated protobuf code from `mysqlx.proto`: `python -m xproto.generate`, or `--check` to compare only.

Needs grpcio-tools, a development dependency. The generated code asks for a protobuf runtime at least as new as the
compiler that made it, so a newer compiler means a newer lower bound of `protobuf` in the project's dependencies.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("mysqlx.proto")
GENERATED = ("mysqlx_pb2.py", "mysqlx_pb2.pyi")


def generate(directory: Path) -> None:
    """Compile `mysqlx.proto` into `directory`/xproto.

    Raises:
        RuntimeError: the compiler refused the definitions; it has printed why.
    """
    from grpc_tools import protoc  # type: ignore[import-untyped]

    package = SOURCE.parent
    arguments = [f"-I{package.parent}", f"--python_out={directory}", f"--pyi_out={directory}"]
    if protoc.main(["protoc", *arguments, f"{package.name}/{SOURCE.name}"]) != 0:
        raise RuntimeError(f"protoc could not compile {SOURCE.name}")


def stale() -> list[str]:
    """Names of generated files that differ from what `mysqlx.proto` gives with the installed compiler."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch, SOURCE.parent.name)
        return [
            name
            for name in GENERATED
            if not (committed := SOURCE.with_name(name)).exists()
            or committed.read_bytes() != (fresh / name).read_bytes()
        ]


def main(argv: list[str] | None = None) -> int:
    """Generate, or with `--check` return 1 if what is committed differs."""
    parser = argparse.ArgumentParser(prog="python -m xproto.generate", description="Compile mysqlx.proto.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed code differs")
    if not parser.parse_args(argv).check:
        generate(SOURCE.parent.parent)
        return 0
    different = stale()
    for name in different:
        print(f"xproto/{name} differs from xproto/{SOURCE.name}: run python -m xproto.generate", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
