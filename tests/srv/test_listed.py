"""A static file: what it says, and how it is watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from srv import listed
from srv.desired import Desired
from srv.listed import ListedClusters
from srv.listing import DocumentError, read_listing
from srv.zone import Part, ZoneMember

ROLES = ("primary", "replica", "replica")
MEMBER = '[clusters."{domain}".members.{label}]\n{rest}\n'


def entry(label: str, rest: str = 'host = "192.0.2.1"', domain: str = "db.test") -> str:
    return MEMBER.format(domain=domain, label=label, rest=rest)


def desired(text: str, domain: str = "db.test", **found: tuple[str, ...]) -> Desired:
    return read_listing(text).clusters[domain].desired(domain, {"192.0.2.1": ("192.0.2.1",), **found})


def test_a_member_with_everything() -> None:
    rest = 'addresses = ["192.0.2.1", "2001:db8::1"]\nport = 3310\nx_port = 0\nrole = "both"\nweight = 7\npriority = 9'
    assert desired('[clusters."DB.test"]\nttl = 9\n' + entry("M1", rest, "DB.test")) == Desired(
        "db.test", (ZoneMember("m1", ("192.0.2.1", "2001:db8::1"), 3310, None, frozenset(Part), 9, 7),), 9
    )


def test_roles_are_known_where_one_is_given() -> None:
    assert not desired(entry("m1")).roles_known
    known = desired(entry("m1") + entry("m2", 'host = "192.0.2.1"\nrole = "none"'))
    assert known.roles_known
    assert all(not one.parts for one in known.members)


def test_who_drains_or_cannot_be_found_is_left_out() -> None:
    text = entry("m1") + entry("m2", 'host = "192.0.2.1"\ndrain = true') + entry("m3", 'host = "db3"')
    assert [one.label for one in desired(text).members] == ["m1"]
    assert [one.label for one in desired(text, db3=("192.0.2.3",)).members] == ["m1", "m3"]
    assert set(read_listing(text).hosts()) == {"192.0.2.1", "db3"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("clusters = {", "not valid TOML"),
        (entry("m1", ""), "line 1: clusters.db.test.members.m1.host: give host or addresses, one of them"),
        (entry("m1", 'addresses = ["db1"]'), "line 2: clusters.db.test.members.m1.addresses: 'db1' is not an IP"),
        (entry("m1") + entry("ns"), "line 1: clusters.db.test: member label 'ns' is taken"),
        (entry("m1") + entry("M1"), "line 1: clusters.db.test: two members are labelled 'm1'"),
        (entry("m1", 'host = "h"\npriority = 101'), "line 3: clusters.db.test.members.m1.priority: 101: must be"),
        (entry("m1", 'host = "h"\nrole = "secondary"'), "'secondary': must be one of 'primary', 'replica', 'both'"),
        (entry("m1", 'host = "h"\nwieght = 1'), "line 3: clusters.db.test.members.m1.wieght: no such option; did you"),
        (entry("m1", domain="a..b"), "is not a name"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_listing(text)
    assert complaint in str(caught.value)


class Heard:
    """What the source wants."""

    def __init__(self) -> None:
        self.last: dict[str, list[str]] = {}

    def want(self, desired: Desired) -> None:
        self.last[desired.domain] = [f"{one.label} {','.join(one.addresses)}" for one in desired.members]

    def drop(self, domain: str) -> None:
        del self.last[domain]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "LOOK_INTERVAL", 0.005)


@contextlib.asynccontextmanager
async def watching(path: Path, **options: Any) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(ListedClusters(path, **options).run(heard), name="source")
    try:
        yield heard
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_edits_are_followed_and_clusters_come_and_go(until: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "listing.toml"
    path.write_text(entry("m1"))
    async with watching(path) as heard:
        await until(lambda: heard.last == {"db.test": ["m1 192.0.2.1"]})
        path.write_text(entry("m2"))  # as long as before, and so soon that the clock need not tell
        await until(lambda: heard.last == {"db.test": ["m2 192.0.2.1"]})
        path.write_text(entry("m2", domain="other.test"))
        await until(lambda: heard.last == {"other.test": ["m2 192.0.2.1"]})


async def test_links_are_followed_where_they_lead_now(until: Callable[..., Any], tmp_path: Path) -> None:
    """As a ConfigMap's: the file is a link into a directory that is a link, which is replaced."""
    for name, label in (("v1", "m1"), ("v2", "m2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "listing.toml").write_text(entry(label))
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "listing.toml").symlink_to("data/listing.toml")
    async with watching(tmp_path / "listing.toml") as heard:
        await until(lambda: heard.last == {"db.test": ["m1 192.0.2.1"]})
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").replace(tmp_path / "data")
        await until(lambda: heard.last == {"db.test": ["m2 192.0.2.1"]})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_text(entry("m1")[:-9]), "not valid TOML"),
        (lambda path: path.write_text(entry("m1", "port = 1")), "line 1: clusters.db.test.members.m1.host"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8 at byte 0"),
        (lambda path: path.write_bytes(b"#" * (listed.SIZE_LIMIT + 1)), "more than"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
async def test_what_cannot_be_used_leaves_what_was_and_is_said_once(
    damage: Callable[[Path], None],
    reason: str,
    until: Callable[..., Any],
    tmp_path: Path,
    caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", "fairlead")
    looks: list[Path] = []
    monkeypatch.setattr(listed, "_read", lambda path, read=listed._read: (looks.append(path), read(path))[1])
    path = tmp_path / "listing.toml"
    path.write_text(entry("m1"))
    async with watching(path) as heard:
        await until(lambda: bool(heard.last))
        damage(path)
        looks.clear()
        await until(lambda: len(looks) > 3)
        assert caplog.text.count("file-not-used") == 1
        path.unlink(missing_ok=True)
        path.write_text(entry("m1"))
        await until(lambda: "file-usable" in caplog.text)
        assert heard.last == {"db.test": ["m1 192.0.2.1"]}
    assert reason in caplog.text


async def test_a_file_that_comes_later(until: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "listing.toml"
    async with watching(path) as heard:
        await asyncio.sleep(0)
        path.write_text(entry("m1"))
        await until(lambda: heard.last == {"db.test": ["m1 192.0.2.1"]})


async def test_hosts_are_looked_up_again(until: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(listed, "HOST_INTERVAL", 0.01)
    names = {"db1": ("192.0.2.1",)}

    async def locate(host: str) -> tuple[str, ...]:
        return names.get(host, ())

    path = tmp_path / "listing.toml"
    path.write_text(entry("m1", 'host = "db1"'))
    async with watching(path, locate=locate) as heard:
        await until(lambda: heard.last == {"db.test": ["m1 192.0.2.1"]})
        names["db1"] = ("192.0.2.9",)
        await until(lambda: heard.last == {"db.test": ["m1 192.0.2.9"]})


async def test_roles_are_withheld_until_somebody_of_each_is_found(until: Callable[..., Any], tmp_path: Path) -> None:
    """A publisher that starts while names do not resolve must not say that nobody is the primary."""
    names: dict[str, tuple[str, ...]] = {}
    said: list[Desired] = []

    async def locate(host: str) -> tuple[str, ...]:
        return names.get(host, ())

    class Wants:
        def want(self, desired: Desired) -> None:
            said.append(desired)

        def drop(self, domain: str) -> None:
            raise AssertionError(domain)

    path = tmp_path / "listing.toml"
    path.write_text("".join(entry(f"m{n}", f'host = "db{n}"\nrole = "{role}"') for n, role in enumerate(ROLES)))
    task = asyncio.create_task(ListedClusters(path, locate=locate).run(Wants()), name="source")
    try:
        await until(lambda: bool(said))
        assert not said[-1].roles_known
        names["db1"] = ("192.0.2.1",)  # soon found, though names are looked up each half minute
        await until(lambda: len(said[-1].members) == 1)
        assert not said[-1].roles_known
        names["db0"] = ("192.0.2.0",)
        await until(lambda: said[-1].roles_known)  # db2 may never be found
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_bad_edit_of_many_clusters_is_read_once_and_told_in_few_words(
    until: Callable[..., Any], tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "LOOK_INTERVAL", 0.01)
    reads: list[str] = []
    looks: list[Path] = []
    monkeypatch.setattr(listed, "read_listing", lambda text: (reads.append(text), read_listing(text))[1])
    monkeypatch.setattr(listed, "_read", lambda path, read=listed._read: (looks.append(path), read(path))[1])
    path = tmp_path / "listing.toml"
    path.write_text("".join(entry(f"m{n}", f'host = "h{n}"\nwieght = 5', f"c{n}.test") for n in range(100)))
    async with watching(path) as heard:
        await until(lambda: "file-not-used" in caplog.text)
        looks.clear()
        await until(lambda: len(looks) > 3)
        assert len(reads) == 1
        assert caplog.text.count("did you mean weight") == 10
        assert "and 90 more" in caplog.text
        path.write_text(entry("m1"))
        await until(lambda: bool(heard.last))
