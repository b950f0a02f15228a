"""A member's leased key as text. Owns its form and what is refused of it; must not know where it is kept.

A key is `PREFIX/DOMAIN/LABEL`, its value a JSON object: where the member is reached; what its agent saw last, the whole
report, so that whoever reads can judge the views of all members together; and, for people and other programs, the
member's own opinion of its role and state, which nobody here goes by.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from cluster.members import Endpoint, Member, Role, State
from cluster.observations import Observation, Outcome, Report
from srv.names import is_address, is_host_label
from srv.zone import DEFAULT_WEIGHT, NAMESERVER_LABEL, PRIORITY_LIMIT, WEIGHT_LIMIT

FORM = 1  # raised when older readers would misunderstand; what is only added needs no new number
LEASE_TTL = 10  # seconds that a key outlives its agent
VALUE_LIMIT = 64 * 2**10  # bytes; a report of nine members takes three thousand
ADDRESS_LIMIT = 8  # of one member


@dataclass(frozen=True, slots=True)
class Lease:
    """What an agent says of its member.

    `uuid`, `role` and `state` are the member's own word. A port is None where the protocol is not offered.
    """

    addresses: tuple[str, ...]
    port: int | None
    x_port: int | None
    outcome: Outcome
    detail: str = ""
    report: Report | None = None
    draining: bool = False
    weight: int = DEFAULT_WEIGHT
    priority: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.addresses) <= ADDRESS_LIMIT or not all(map(is_address, self.addresses)):
            raise ValueError(f"addresses {self.addresses}: wanted 1 to {ADDRESS_LIMIT} IP addresses")
        if not all(port is None or 0 < port < 65536 for port in (self.port, self.x_port)):
            raise ValueError(f"ports {self.port} and {self.x_port}: wanted 1 to 65535, or null")
        check_rank(self.weight, self.priority)

    def observation(self, name: str, taken_at: float) -> Observation:
        """As a look at the member, for the diagnosis."""
        return Observation(self.member(name), taken_at, self.outcome, self.report, self.detail)

    def member(self, name: str) -> Member:
        """The member under that name, where clients reach it."""
        classic, x = (Endpoint(self.addresses[0], port) if port else None for port in (self.port, self.x_port))
        return Member(name, classic, x)


def check_rank(weight: int, priority: int) -> None:
    """See that a member may have these.

    Raises:
        ValueError: it may not.
    """
    if not 0 < weight <= WEIGHT_LIMIT:
        raise ValueError(f"weight {weight}: wanted 1 to {WEIGHT_LIMIT}")
    if not 0 <= priority <= PRIORITY_LIMIT:
        raise ValueError(f"priority {priority}: wanted 0 to {PRIORITY_LIMIT}")


def key_of(prefix: str, domain: str, label: str) -> str:
    """Where a member's lease stands."""
    return f"{prefix}/{domain}/{label}"


def read_key(prefix: str, key: str) -> tuple[str, str] | None:
    """The domain and the label that a key is about; None for a key that is none of ours."""
    domain, slash, label = key.removeprefix(f"{prefix}/").partition("/")
    usable = slash and is_host_label(label) and label == label.lower() and label != NAMESERVER_LABEL
    return (domain, label) if usable and key.startswith(f"{prefix}/") else None


def write(lease: Lease) -> bytes:
    """The value of a lease's key; where a set of transactions makes it too long for a reader, without that set."""
    value = _written(lease)
    report = lease.report
    if len(value) <= VALUE_LIMIT or report is None or report.replication is None:
        return value
    words = f"with them the key would have {len(value)} bytes, more than {VALUE_LIMIT}"
    replication = replace(report.replication, executed=None, not_told=words)
    return _written(replace(lease, report=replace(report, replication=replication)))


def _written(lease: Lease) -> bytes:
    own = lease.report.own_row if lease.report else None
    told = {
        "form": FORM,
        "uuid": lease.report.uuid if lease.report else None,
        "role": (own.role if own else Role.UNKNOWN).value,
        "state": (own.state if own else State.UNKNOWN).value,
    }
    return json.dumps({**told, **_plain(lease)}, separators=(",", ":")).encode()


def read(value: bytes) -> Lease:
    """Read a lease's key.

    Raises:
        ValueError: what is wrong with it.
    """
    if len(value) > VALUE_LIMIT:
        raise ValueError(f"{len(value)} bytes are more than {VALUE_LIMIT}")
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"not JSON: {exc}") from exc
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise ValueError(f"not an object of form {FORM}")
    lease = _read(Lease, document, "")
    assert isinstance(lease, Lease)  # noqa: S101 - what was asked for
    return lease


def _plain(value: Any) -> Any:
    """A frozen value in JSON's words."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _read(kind: Any, value: Any, where: str) -> Any:
    """A frozen value out of JSON's words, by its type. What is not known is skipped: a newer agent may say more."""
    if get_origin(kind) in (types.UnionType, Union):
        (kind,) = (each for each in get_args(kind) if each is not types.NoneType)
        return None if value is None else _read(kind, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: wanted a list")
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"{where}: wanted a list of {len(kinds)}")
        return tuple(_read(one, each, where) for one, each in zip(kinds, value, strict=True))
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'value'}: wanted an object")
        return _read_fields(kind, value, where)
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(
                f"{where}: {str(value)[:40]!r} is none of {', '.join(each.value for each in kind)}"
            ) from None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:  # a bool is an int, and would pass for one
        raise ValueError(f"{where}: {str(value)[:40]!r} is no {kind.__name__}")
    return value


def _read_fields(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    found = {}
    for name, (hint, needed) in _shape(kind).items():
        if name in value:
            found[name] = _read(hint, value[name], f"{where}.{name}".lstrip("."))
        elif needed:
            raise ValueError(f"{where}.{name}".lstrip(".") + ": is missing")
    return kind(**found)


@cache
def _shape(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    hints = get_type_hints(kind)
    return {each.name: (hints[each.name], each.default is MISSING) for each in fields(kind)}
