"""Writes docs/states.md from the code: every state with its meaning, what may follow what, and the rules of diagnosis.

`python -m bench.setup.state_tables [--check]`: with `--check` nothing is written, and a file that is not current is 1.
"""

from __future__ import annotations

import inspect
import re
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType

import cluster.diagnosis
import cluster.evidence
import cluster.flavours
import cluster.members
import cluster.observations
import cluster.topology
import router.events
import router.reports
import router.service
import router.sessions
import srv.lookup
import xproto.states
import xproto.tls

FILE = Path(__file__).parents[2] / "docs" / "states.md"
HEADING = """# States and rules

Written by `make docs` from the code: change it there.
"""
STATES: tuple[type[Enum], ...] = (
    cluster.members.State,
    cluster.members.Role,
    cluster.topology.Trust,
    cluster.observations.Outcome,
    cluster.flavours.Flavour,
    cluster.evidence.QuorumPolicy,
    cluster.evidence.LagPolicy,
    srv.lookup.Outcome,
    xproto.tls.TlsMode,
    router.sessions.Phase,
    router.reports.WorkerState,
    router.service.Phase,
    router.events.Kind,
)
MEMBER = re.compile(r"^    (?P<name>[A-Z_]+) = .*?(?:  # (?P<meaning>.*))?$")


def write() -> str:
    """Return the whole document."""
    judging = [cluster.diagnosis, *(sys.modules[judge.__module__] for judge in cluster.diagnosis.RULES.values())]
    rules, states = map(_rules, judging), map(_states, STATES)
    return "\n".join([HEADING, "## How members are judged\n", *rules, "## States\n", *states, _transitions()])


def _rules(module: ModuleType) -> str:
    words = inspect.cleandoc(module.__doc__ or "")
    return f"### `{module.__name__}`\n\n{words}\n"


def _states(states: type[Enum]) -> str:
    meanings = {}
    for line in inspect.getsource(states).splitlines():
        if match := MEMBER.match(line):
            meanings[match["name"]] = match["meaning"] or ""
    rows = [f"| {_word(state)} | {meanings[state.name]} |" for state in states]
    words = " ".join(inspect.cleandoc(states.__doc__ or "").split())
    head = f"### `{states.__module__}.{states.__name__}`\n\n{words}\n"
    if any(meanings.values()):
        return "\n".join([head, "| state | meaning |", "| --- | --- |", *rows, ""])
    return "\n".join([head, ", ".join(_word(state) for state in states) + ".", ""])


def _word(state: Enum) -> str:
    return f"`{state.value}`" if isinstance(state.value, str) else f"`{state.name}`"


def _transitions() -> str:
    rows = [
        f"| `{state.name}` | `{message.__name__}` | `{after.name}` |"
        for (state, message), after in xproto.states.RECEIVED.items()
    ]
    words = " ".join((inspect.getdoc(xproto.states) or "").split())
    head = f"### `xproto.states`\n\n{words}\n"
    return "\n".join([head, "| in | the server says | then |", "| --- | --- | --- |", *rows, ""])


def main() -> int:
    """Write the file, or say whether it is current."""
    text = write()
    if "--check" in sys.argv[1:]:
        current = FILE.is_file() and FILE.read_text(encoding="utf-8") == text
        if not current:
            print(f"{FILE.name} is not what the code says: run `make docs`", file=sys.stderr)
        return 0 if current else 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
