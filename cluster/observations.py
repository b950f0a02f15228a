"""What one probe of one member saw.

Owns the frozen record; must not know how it was fetched, nor what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter

from cluster.flavours import Flavour
from cluster.gtids import GtidSet
from cluster.members import Member, Role, State

LIVE = frozenset({State.ONLINE, State.RECOVERING})  # of a group's members, those that vote


class Outcome(Enum):
    """How one look at one member ended."""

    ANSWERED = "answered"  # it answered every question
    ALIVE = "alive"  # it speaks the X Protocol, but there were no credentials to ask with
    OFFLINE_MODE = "offline-mode"  # it turns ordinary accounts away, as an expelled member does (error 3032)
    SHUTTING_DOWN = "shutting-down"  # it said so as it ended our session, and takes no new one
    REFUSED = "refused"  # nothing listens there, or the connection was reset
    TIMEOUT = "timeout"
    DENIED = "denied"  # wrong user or password, no such host for the account, or a missing privilege
    LOCKED = "account-locked"  # the account is locked, or its password has expired
    TLS = "tls-failed"  # a certificate that is not believed, on either side; or TLS where one side wants it and one not
    TOO_MANY = "too-many-connections"  # the server's or the account's limit; the X Plugin then closes without a byte
    BROKEN = "broken"  # it answered with something that is not the X Protocol, or an error nobody foresaw


@dataclass(frozen=True, slots=True, order=True)
class ViewId:
    """A Group Replication view, `prefix:counter`. Within one prefix the higher counter is the later view."""

    prefix: str
    counter: int


def parse_view_id(text: str | None) -> ViewId | None:
    """Read VIEW_ID as `replication_group_member_stats` shows it; None where there is no usable one."""
    prefix, colon, counter = (text or "").rpartition(":")
    return ViewId(prefix, int(counter)) if colon and prefix and counter.isascii() and counter.isdigit() else None


@dataclass(frozen=True, slots=True)
class ViewRow:
    """One row of `performance_schema.replication_group_members`, as the probed member sees it."""

    uuid: str
    host: str
    port: int
    role: Role
    state: State
    version: str = ""


class Receiver(Enum):
    """Whether a replica's receiver is connected to its source (`replication_connection_status.SERVICE_STATE`)."""

    ON = "ON"
    CONNECTING = "CONNECTING"
    OFF = "OFF"


@dataclass(frozen=True, slots=True)
class Channel:
    """A replication channel, as the replica sees it; those of Group Replication do not count as such.

    `source_uuid` is empty until it has been connected. `waiting`: transactions received and not applied. `lag`:
    seconds by which what it applies is behind, 0 where all that was received is applied. `silent`: seconds since the
    source was last heard, where the receiver is not connected; None where it is, or where the source was never heard.
    The errors are what stopped the one or the other, with MySQL's number; else empty.
    """

    host: str
    port: int
    source_uuid: str
    receiver: Receiver
    applying: bool
    receiver_error: str = ""
    applier_error: str = ""
    waiting: int = 0
    lag: float = 0.0
    silent: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class SemiSync:
    """Semi-synchronous replication, both ends.

    `wanted`: it is set up as a source. `active`: commits wait for replicas; not so once it has fallen back to
    asynchronous. `replicas`: how many acknowledge. `acknowledges`: it does so itself, as a replica.
    """

    wanted: bool
    active: bool
    replicas: int
    acknowledges: bool


@dataclass(frozen=True, slots=True)
class Replication:
    """What a server said of asynchronous replication.

    `executed`: the transactions that it has, None where they cannot be told, for the reason in `not_told`. `replicas`:
    how many are connected to it; one that has gone without a word counts until the source next writes to it.
    """

    channels: tuple[Channel, ...] = ()
    executed: GtidSet | None = None
    not_told: str = ""
    semi_sync: SemiSync | None = None
    replicas: int = 0

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything but measurements: what is executed and how late it is differ from look to look."""
        return tuple(map(_facts_of_channel, self.channels)), self.not_told, self.semi_sync


@dataclass(frozen=True, slots=True)
class GaleraNode:
    """What a Galera node says of itself and of its component: `wsrep_%` status and variables.

    `state_uuid` and `conf_id` name the component, None where it belongs to none that is primary. `primary`: its
    component has a majority (`wsrep_cluster_status`). `local_state`: 1 joining, 2 donor or desynced, 3 joined, 4
    synced. `size` and `addresses`: of its component, each address empty where a node tells none; `index`: its own place
    among them. `rejects`: it refuses statements (`wsrep_reject_queries`). `compared`: with what it said a look before,
    which alone tells `written`.

    Measurements: `uptime`: whole seconds since the server started. `replicated`: how many writesets began on it since;
    `written`: the same for each second between the two latest looks, or half of what it was before if that is more.
    `in_state`: for how many seconds of looks `local_state` has been the same.
    """

    state_uuid: str
    conf_id: int | None
    primary: bool
    connected: bool
    ready: bool
    local_state: int
    state_comment: str = ""
    size: int = 1
    index: int | None = None
    addresses: tuple[str, ...] = ()
    desync: bool = False
    dirty_reads: bool = False
    rejects: bool = False
    compared: bool = True
    uptime: int = 0
    replicated: int = 0
    written: float = 0.0
    in_state: float = 0.0

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything but measurements."""
        return _facts_of_node(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What a member said of itself and of its cluster.

    `rows` is empty where Group Replication is not running, and `group_name` where it is not set up. `queued`:
    transactions waiting for certification or to be applied. `lag`: seconds by which what it applies is behind, None
    where that cannot be told. `load`: threads at work, None where it was not asked.
    `replication` is None where the server was asked as a member of a group.
    """

    uuid: str
    read_only: bool
    offline_mode: bool
    group_name: str
    view_id: ViewId | None
    rows: tuple[ViewRow, ...]
    single_primary: bool = True  # the group's mode
    queued: int = 0
    version: str = ""
    lag: float | None = None
    load: int | None = None
    replication: Replication | None = None
    galera: GaleraNode | None = None

    @property
    def own_row(self) -> ViewRow | None:
        """The member's row about itself."""
        return next((row for row in self.rows if row.uuid == self.uuid), None)

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything but measurements, which differ from look to look where there is work."""
        kinds = (self.replication, self.galera)
        return (*_facts_of_report(self), *(one.facts if one else None for one in kinds))

    @property
    def flavour(self) -> Flavour:
        """How it replicates, by its own word."""
        if self.galera is not None:
            return Flavour.GALERA
        return Flavour.GROUP_REPLICATION if self.group_name or self.rows else Flavour.REPLICATION


def _all_but(kind: type, *names: str) -> Callable[[object], tuple[object, ...]]:
    return attrgetter(*(field.name for field in fields(kind) if field.name not in names))


_facts_of_channel = _all_but(Channel, "waiting", "lag", "silent")
_facts_of_report = _all_but(Report, "queued", "lag", "load", "replication", "galera")
_facts_of_node = _all_but(GaleraNode, "uptime", "replicated", "written", "in_state")


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe's result. `taken_at` is monotonic seconds at the moment the question was sent."""

    member: Member
    taken_at: float
    outcome: Outcome
    report: Report | None = None
    detail: str = ""  # for people: the error's own words

    def outlasts(self, newer: Observation, *, now: float, max_age: float) -> bool:
        """Whether this counts still, although the member was looked at again.

        Silence is no evidence: what a member said counts until it is too old, as if it had not been asked.
        """
        silent = newer.outcome is Outcome.TIMEOUT
        return silent and self.report is not None and now - self.taken_at <= max_age
