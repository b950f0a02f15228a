from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bench.sandbox.addresses import namespace_members
from bench.sandbox.errors import NotUpError, SandboxError
from bench.sandbox.layout import Layout, locked, write_atomically
from bench.sandbox.processes import boot_id
from bench.sandbox.record import Mode, NetworkKind, Phase, Record, ServerKind, decode, encode

RECORD = Record(
    phase=Phase.UP,
    tag="ab12",
    network=NetworkKind.NAMESPACES,
    mode=Mode.MULTI_PRIMARY,
    subnet="10.213.4.0/24",
    host_address="10.213.4.1",
    server_kind=ServerKind.ROOT,
    server_path="/cache/root",
    group_name="53c0a40d-49ad-4c0b-8571-cfca49db68f9",
    formed=True,
    boot_id="b",
    members=namespace_members(3, IPv4Network("10.213.4.0/24")),
)


def test_a_record_survives_writing_and_reading() -> None:
    assert decode(encode(RECORD)) == RECORD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2}',
        encode(RECORD).replace('"up"', '"sideways"'),
        encode(RECORD).replace("tag", "gat"),
        encode(RECORD).replace("ab12", "*"),
        encode(RECORD).replace('"mysql-1"', '"/etc"'),
        encode(RECORD).replace('"mysql-1"', '"mysql-1/../../x"'),
        encode(RECORD).replace('"mysql-1"', '"mysql-9"'),
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_at_rest_it_holds_nothing_of_the_machine() -> None:
    rest = replace(RECORD, directory="/d").at_rest()
    assert (rest.phase, rest.tag, rest.boot_id, rest.directory) == (Phase.DOWN, "", "", "")
    assert rest == decode(encode(rest))


def a_running_one(directory: Path) -> Record:
    return replace(RECORD, boot_id=boot_id(), directory=str(directory))


def test_a_record_of_an_earlier_boot_is_at_rest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.store(a_running_one(tmp_path))
    assert layout.load() == a_running_one(tmp_path)
    layout.store(replace(a_running_one(tmp_path), boot_id="another"))
    assert layout.load() == RECORD.at_rest()


def test_a_copy_of_a_running_sandbox_is_at_rest_and_a_moved_one_is_not(tmp_path: Path) -> None:
    original, other = Layout(tmp_path / "a"), Layout(tmp_path / "b")
    for layout in (original, other):
        layout.create()
        layout.store(a_running_one(original.dir))
    assert original.load().phase is Phase.UP
    assert other.load() == RECORD.at_rest()
    original.purge(())
    assert other.load() == a_running_one(original.dir)


def test_another_users_sandbox_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    layout.store(RECORD)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    for look in (layout.load, layout.check):
        with pytest.raises(SandboxError, match=f"belongs to user {own}"):
            look()


def test_peers_are_all_but_oneself() -> None:
    assert [peer.name for peer in RECORD.peers("mysql-1")] == ["mysql-0", "mysql-2"]


def test_an_empty_directory_has_no_sandbox(tmp_path: Path) -> None:
    with pytest.raises(NotUpError):
        Layout(tmp_path).load()


def test_a_broken_record_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_text("{")
    with pytest.raises(SandboxError, match=r"sandbox\.json"):
        Layout(tmp_path).load()


def test_storing_replaces_the_record_and_leaves_nothing_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.store(RECORD)
    layout.store(replace(RECORD, phase=Phase.DOWN))
    assert layout.load().phase is Phase.DOWN
    assert [path.name for path in tmp_path.iterdir()] == ["sandbox.json"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, "old", 0o600)
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udc00", 0o600)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_write_left_is_neither_foreign_nor_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "s")
    layout.create()
    layout.purge(())
    layout.dir.mkdir()
    (layout.dir / ".sandbox.json.123.0badcafe").touch()
    layout.check()
    layout.purge(())
    assert not layout.dir.exists()


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SandboxError, match="thesis"):
        Layout(tmp_path).check()


def test_a_directory_that_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="too long"):
        Layout(tmp_path / ("x" * 100)).check()
    Layout(Path("/tmp") / ("x" * 70)).check()


def test_passwords_are_drawn_once_and_readable_by_nobody_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    assert layout.password("app") == layout.password("app") != layout.password("probe")
    assert layout.password_file("app").stat().st_mode & 0o777 == 0o600


def test_purge_deletes_only_what_the_sandbox_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "s")
    layout.create()
    layout.store(RECORD)
    layout.member("mysql-0").mkdir()
    (layout.dir / "mine.txt").touch()
    layout.purge(["mysql-0"])
    assert [path.name for path in layout.dir.iterdir()] == ["mine.txt"]
    (layout.dir / "mine.txt").unlink()
    layout.purge(["mysql-0"])
    assert not layout.dir.exists()


def test_notes_come_and_go(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    assert layout.read_note("mysql-0.cut") == {}
    layout.write_note("mysql-0.cut", {"from": "peers"})
    assert layout.read_note("mysql-0.cut") == {"from": "peers"}
    layout.write_note("mysql-0.cut", {})
    assert not any(layout.run.iterdir())


def test_a_lock_can_be_taken_again_after_its_file_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        path.unlink()
    with locked(path):
        assert path.exists()


def test_the_record_holds_no_secret() -> None:
    assert not {key for key in json.loads(encode(RECORD)) if "password" in key}
