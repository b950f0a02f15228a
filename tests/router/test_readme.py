"""The configuration reference is the settings', option by option, and the README's example is one of them."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from router.admin_settings import AdminSettings
from router.log_settings import LogSettings
from router.settings import ClusterSettings, RouteSettings, Settings, load, parse
from router.words import StrategyName

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "configuration.md").read_text()
IN_WORDS = {"cluster", "strategy", "socket_mode"}  # whose default depends on other options, or is written otherwise


def documented() -> dict[str, str]:
    """Default by option, as the reference's tables have them."""
    options = REFERENCE[: REFERENCE.index("## Strategies")]
    return dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \|", options, re.MULTILINE))


@pytest.mark.parametrize(
    ("prefix", "table"),
    [("", ClusterSettings), ("", RouteSettings), ("admin.", AdminSettings), ("log.", LogSettings), ("", Settings)],
    ids=["clusters", "routes", "admin", "log", "top"],
)
def test_every_option_stands_there_with_its_default(prefix: str, table: type[BaseModel]) -> None:
    reference = documented()
    for name, field in table.model_fields.items():
        if table is Settings and name in {"clusters", "routes", "admin", "log"}:
            continue
        said = reference[prefix + name]
        if field.is_required():
            assert said == "required", name
        elif name not in IN_WORDS and field.default is not PydanticUndefined:
            usual = field.default if not isinstance(field.default, Enum) else f'"{field.default.value}"'
            words = {None: "none", True: "`true`", False: "`false`", "": '`""`', (): "`[]`"}
            # By type too: 0 is equal to False.
            default = next((text for value, text in words.items() if value is usual or (value == usual == "")), None)
            assert said.removesuffix(" s") == (default or f"`{usual}`"), name


def test_every_strategy_stands_there() -> None:
    described = re.findall(r"^\| `([a-z-]+)` \|", REFERENCE[REFERENCE.index("## Strategies") :], re.MULTILINE)
    assert described == [strategy.value for strategy in StrategyName]


def test_no_option_stands_there_that_is_not(tmp_path: Path) -> None:
    known = {f"admin.{name}" for name in AdminSettings.model_fields} | {
        f"log.{name}" for name in LogSettings.model_fields
    }
    for table in (ClusterSettings, RouteSettings, Settings):
        known |= set(table.model_fields)
    assert set(documented()) <= known
    example = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert example
    file = tmp_path / "example.toml"
    file.write_text(example.group(1))
    assert set(parse(load(file)).routes) == {"orders_rw", "orders_ro"}
