"""What each suite is told of its server, and that the sources are pinned."""

from __future__ import annotations

import configparser
import re

import pytest

from bench.transparency.sources import LOCK
from bench.transparency.suites import SUITES, Target

TARGET = Target("127.0.0.9", 6446, "root", "p@ss/%word", "/tmp/ca.pem")


@pytest.mark.parametrize("name", SUITES)
def test_no_password_is_in_an_argument(name: str) -> None:
    suite = SUITES[name]
    words = (*suite.whole, *suite.part, *suite.options(TARGET))
    assert not [word for word in words if "word" in word and "p@ss" in word]
    told = [*suite.files(TARGET).values(), *suite.environment(TARGET).values(), *words]
    assert any("127.0.0.9" in one for one in told)


def test_the_url_of_sqlalchemy_survives_its_file() -> None:
    parser = configparser.ConfigParser()
    parser.read_string(SUITES["sqlalchemy-asyncmy"].files(TARGET)["test.cfg"])
    url = parser["db"]["target"]
    assert url.startswith("mysql+asyncmy://root:p%40ss%2F%25word@127.0.0.9:6446/test?")


@pytest.mark.parametrize("name", SUITES)
def test_sources_are_pinned_with_a_hash(name: str) -> None:
    sdist = SUITES[name].sdist
    assert re.fullmatch(r"[0-9a-f]{64}", sdist.sha256)
    assert re.fullmatch(r"[\d.]+", sdist.version)


def test_each_package_of_the_environment_is_pinned_with_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    assert [entry for entry in entries if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", entry, re.DOTALL)] == []
