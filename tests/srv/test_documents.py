"""Documents' errors: the key, the line, the value, what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from srv.documents import DocumentError, Domain, Table, WrongError, line_of, parse, parse_text


class Round(Table):
    shape: Literal["round"]
    radius: Annotated[float, Field(gt=0)]


class Square(Table):
    shape: Literal["square"]
    side: int = 1
    of: Domain = "db.test"


class Things(Table):
    things: Annotated[
        Mapping[str, Annotated[Round | Square, Field(discriminator="shape")]], Field(default_factory=dict)
    ]
    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("x",)

    @model_validator(mode="after")
    def _fits(self) -> Things:
        if "huge" in self.things:
            raise WrongError(("things", "huge"), "does not fit")
        return self


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"things": {"a": {"shape": "round"}}}, "things.a.radius: is missing, and has no default"),
        ({"things": {"a": {"shape": "round", "radius": 0}}}, "things.a.radius: 0: must be greater than 0"),
        ({"things": {"a": {"shape": "square", "sid": 1}}}, "things.a.sid: no such option; did you mean side?"),
        ({"things": {"a": {"shape": "square", "q": 1}}}, "things.a.q: no such option; known are of, shape, side"),
        ({"things": {"a": {"shape": "flat"}}}, "things.a.shape: 'flat': must be one of 'round', 'square'"),
        ({"things": {"a": {}}}, "things.a.shape: is missing, and has no default"),
        ({"things": {"a": {"shape": "square", "side": "1m"}}}, "things.a.side: '1m': must be a whole number"),
        ({"things": {"a": {"shape": "square", "of": "a..b"}}}, "things.a.of: 'a..b' is not a name"),
        ({"things": {"huge": {"shape": "square"}}}, "things.huge: does not fit"),
        ({"things": 1}, "things: 1: must be a table"),
        ({"names": []}, "names: []: needs at least one entry"),
        ({"names": [""]}, "names.0: '': must not be empty"),
        ({"names": "a"}, "names: 'a': must be a list"),
        ({"name": "a"}, "name: no such option; did you mean names?"),
    ],
)
def test_errors_in_words(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(Things, document)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_each_thing_wrong_has_a_line() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(Things, {"names": [], "things": {"a": {"shape": "square", "side": "x"}}})
    assert len(str(caught.value).splitlines()) == 2


TEXT = """\
# things

[things.a]
shape = "square"

[things."b.c"]
shape = \"\"\"
square\"\"\"
side = [
  1,
  2,
]
of = "x"
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("things", "a"), 3),
        (("things", "a", "shape"), 4),
        (("things", "a", "missing"), 3),
        (("things", "b.c"), 6),
        (("things", "b.c", "shape"), 7),
        (("things", "b.c", "side"), 9),
        (("things", "b.c", "side", 1), 9),
        (("things", "b.c", "of"), 13),
        (("nothing",), 1),
    ],
)
def test_the_line_of_a_key(location: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, location) == line


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_line_of_any_key_of_a_long_document(before: int, after: int) -> None:
    lines = [*(f"[things.t{n}]\nside = {n}\n" for n in range(before)), "[things.here]\nside = 0\n"]
    lines += [f"[things.u{n}]\nside = {n}\n" for n in range(after)]
    assert line_of("".join(lines), ("things", "here", "side")) == 2 * before + 2


def test_errors_of_a_text_name_its_lines() -> None:
    with pytest.raises(DocumentError, match=r"^line 4: things.a.side: 'x': must be a whole number$"):
        parse_text(Things, '\n[things.a]\nshape = "square"\nside = "x"\n')
    with pytest.raises(DocumentError, match=r"^not valid TOML: .*line 2"):
        parse_text(Things, "names = []\nnames = []\n")
    with pytest.raises(DocumentError, match=r"^not valid TOML"):
        parse_text(Things, "names = " + "[" * 100_000)
