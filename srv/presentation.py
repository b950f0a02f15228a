"""Lookups as text, as JSON and as an exit status. Owns the words of `fairlead resolve`; nothing is awaited."""

from __future__ import annotations

import random
from collections.abc import Sequence

from srv.lookup import Lookup, Outcome, Target
from srv.order import in_order_of_use

FOUND, DECIDED_NEGATIVE, CANNOT_TELL = 0, 1, 2

WORDS = {
    Outcome.EMPTY: "the name exists, with no target",
    Outcome.NXDOMAIN: "no such name",
    Outcome.UNAVAILABLE: "decidedly not available",
    Outcome.SERVFAIL: "cannot tell: the name server failed",
    Outcome.REFUSED: "cannot tell: the name server refused",
    Outcome.TIMEOUT: "cannot tell: no answer",
    Outcome.MALFORMED: "cannot tell: the answer is not DNS",
}


def as_text(lookup: Lookup, rng: random.Random) -> str:
    """The name with its outcome and TTL, and one target a line in the order of use."""
    elsewhere = f", found at {lookup.found_at}" if lookup.found_at else ""
    if lookup.answer is None:
        ttl = f", TTL {lookup.negative_ttl:g} s" if lookup.negative_ttl is not None else ""
        detail = f" ({lookup.detail})" if lookup.detail else ""
        return f"{lookup.name}: {lookup.outcome.value}{ttl}{elsewhere}: {WORDS[lookup.outcome]}{detail}"
    heading = f"{lookup.name}: {lookup.outcome.value}, TTL {lookup.answer.ttl:g} s{elsewhere}"
    lines = [
        f"  {target.name}:{target.port}  priority {target.priority} weight {target.weight}"
        f"  {' '.join(target.addresses) or '(no address)'}"
        for target in in_order_of_use(lookup.answer.targets, rng)
    ]
    return "\n".join([heading, *lines, *([f"  {lookup.detail}"] if lookup.detail else [])])


def as_json(lookups: Sequence[Lookup], rng: random.Random) -> list[dict[str, object]]:
    """The same as a document: one object a name."""
    return [
        {
            "name": lookup.name,
            "found_at": lookup.found_at or lookup.name if lookup.answer else None,
            "outcome": lookup.outcome.value,
            "detail": lookup.detail,
            "ttl": lookup.answer.ttl if lookup.answer else lookup.negative_ttl,
            "targets": [
                _target(target) for target in in_order_of_use(lookup.answer.targets if lookup.answer else (), rng)
            ],
        }
        for lookup in lookups
    ]


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0 where a name has an answer; else 1 where all are decided, and 2 where one is not."""
    if Outcome.ANSWER in outcomes:
        return FOUND
    return DECIDED_NEGATIVE if all(outcome.is_decided for outcome in outcomes) else CANNOT_TELL


def _target(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "port": target.port,
        "priority": target.priority,
        "weight": target.weight,
        "addresses": list(target.addresses),
    }
