"""What came of updating another name server: the words for it, and what the operator can do about each.

Owns the meaning of response codes and of replies to looks. Must not know sockets, time, or how messages are signed.
"""

from __future__ import annotations

from enum import Enum

from srv.records import Kind, Rcode, RRset
from srv.signed import FUDGE
from srv.update_plan import Place
from srv.update_settings import UpdateSettings
from srv.wire import Reply


class Outcome(Enum):
    """How a try ended. After the first two, the server has what is wanted."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"  # nothing differed
    BADKEY = "badkey"
    BADSIG = "badsig"
    BADTIME = "badtime"
    NOTAUTH = "notauth"
    REFUSED = "refused"
    NOTZONE = "notzone"
    SERVFAIL = "servfail"
    REJECTED = "rejected"  # any other response code
    CONFLICT = "conflict"  # something else stands at the name
    DELEGATED = "delegated"  # the name lies below a cut of the zone
    TOO_LARGE = "too-large"
    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"

    @property
    def is_servers(self) -> bool:
        """Whether it is about the server or the key: it would be the same for every cluster."""
        return self in _OF_THE_SERVER

    @property
    def is_unsure(self) -> bool:
        """Whether an update that was sent may still be made: its answer is missing."""
        return self in _UNSURE


_UNSURE = {Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.MALFORMED, Outcome.UNSIGNED}
_OF_THE_SERVER = _UNSURE | {Outcome.BADKEY, Outcome.BADSIG, Outcome.BADTIME, Outcome.NOTAUTH}
# RFC 2136, 2.2 has those that `Rcode` does not.
_BY_RCODE = {2: Outcome.SERVFAIL, 5: Outcome.REFUSED, 9: Outcome.NOTAUTH, 10: Outcome.NOTZONE}
# What each means and what to do. `detail` is what was seen, the rest are the settings.
_WORDS = {
    Outcome.BADKEY: "it does not know the key {key} ({algorithm}), or not for zone {zone}: compare the key's name, and"
    " who may do what in that zone, with its configuration",
    Outcome.BADSIG: "it finds the signature by key {key} wrong: compare the secret in {file}, and the algorithm"
    " {algorithm}, with its configuration",
    Outcome.BADTIME: "its clock and this machine's differ by more than {fudge} s, so signatures by key {key} do not"
    " count: set both by NTP",
    Outcome.NOTAUTH: "it is no primary server of zone {zone}: name the zone as it has it; or, where it does not tell"
    " (PowerDNS), it does not accept the signature: compare the name of key {key}, its algorithm {algorithm}, the"
    " secret in {file} and the clocks",
    Outcome.REFUSED: "it does not hold zone {zone}, or does not let key {key} change the names: name the zone as it has"
    " it, and grant the right (BIND: update-policy or allow-update; Knot: an acl with action update; PowerDNS:"
    " dnsupdate=yes, allow-dnsupdate-from and TSIG-ALLOW-DNSUPDATE)",
    Outcome.NOTZONE: "the domain does not lie in zone {zone}: name the zone that holds it",
    Outcome.SERVFAIL: "it could not do it; its own log says why",
    Outcome.REJECTED: "it does not take the message ({detail})",
    Outcome.DELEGATED: "{detail} is delegated (NS) to other name servers: update one of those, or choose another"
    " domain",
    Outcome.TOO_LARGE: "the records at {detail} do not fit into one message: publish fewer members",
    Outcome.CONFLICT: "{detail}: remove that, or choose another domain or label",
    Outcome.UNSIGNED: "its answer is not signed by key {key}: something answers in its place, or changes what it says",
    Outcome.MALFORMED: "it answers with something else than DNS ({detail}): name its address and DNS port",
    Outcome.UNREACHABLE: "it cannot be reached over TCP ({detail})",
    Outcome.TIMEOUT: "no answer within {timeout:g} s",
}


class UpdateError(Exception):
    """The server has not done, or not surely, what was asked of it."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        super().__init__(outcome.value, detail)
        self.outcome = outcome
        self.detail = detail


def explain(error: UpdateError, settings: UpdateSettings) -> str:
    """Say what is wrong with the server that the settings name, and what to do."""
    return _WORDS[error.outcome].format(
        detail=error.detail,
        key=settings.key_name,
        algorithm=settings.algorithm,
        file=settings.secret_file,
        zone=settings.zone,
        timeout=settings.timeout,
        fudge=FUDGE,
    )


def check_rcode(rcode: int) -> None:
    """Accept that an update was made.

    Raises:
        UpdateError: the response code says that it was not.
    """
    if rcode != Rcode.NOERROR:
        raise UpdateError(_BY_RCODE.get(rcode, Outcome.REJECTED), f"response code {rcode}")


def standing_at(place: Place, reply: Reply) -> RRset | None:
    """Read what stands at a place out of the server's reply.

    Raises:
        UpdateError: it does not know, or another server would; or an alias stands there.
    """
    name, _ = place
    if reply.rcode != Rcode.NXDOMAIN:
        check_rcode(reply.rcode)
    if not reply.authoritative:
        cut = next((rrset.name for rrset in reply.authority if rrset.kind is Kind.NS), None)
        if cut is not None and reply.rcode == Rcode.NOERROR:  # a referral (RFC 1034, 4.3.2): other names are ours still
            raise UpdateError(Outcome.DELEGATED, cut)
        raise UpdateError(Outcome.NOTAUTH)
    found = {(rrset.name, rrset.kind): rrset for rrset in reply.answer}
    if (name, Kind.CNAME) in found:
        # RFC 2136, 3.4.2.2: records beside an alias are passed over without a word.
        raise UpdateError(Outcome.CONFLICT, f"an alias (CNAME) stands at {name}")
    return found.get(place)
