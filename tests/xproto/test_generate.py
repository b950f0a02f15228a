"""What is committed of the generated code is what the definitions give."""

from __future__ import annotations

from pathlib import Path

import pytest

from xproto import generate


def test_the_committed_code_is_current() -> None:
    assert generate.stale() == []
    assert generate.main(["--check"]) == 0


def test_a_difference_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "xproto"
    package.mkdir()
    definitions = generate.SOURCE.read_text()
    monkeypatch.setattr(generate, "SOURCE", package / "mysqlx.proto")
    generate.SOURCE.write_text(definitions)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    generate.SOURCE.write_text(definitions.replace("repeated bytes field = 1", "repeated bytes field = 2"))
    assert generate.main(["--check"]) == 1
    assert "xproto/mysqlx_pb2.py differs" in capsys.readouterr().err
