"""What came of an update, and the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from srv.records import AddressRecord, Kind, NameRecord, Rcode, RRset
from srv.update_outcomes import Outcome, UpdateError, check_rcode, explain, standing_at
from srv.update_settings import UpdateSettings
from srv.wire import Reply

SETTINGS = UpdateSettings(("192.0.2.53", 53), "db.test", "fairlead", Path("/etc/fairlead/key"))
PLACE = ("m1.db.test", Kind.A)
FOUND = RRset(*PLACE, 5, (AddressRecord("192.0.2.1"),))
ALIAS = RRset("m1.db.test", Kind.CNAME, 5, (NameRecord("m2.db.test"),))


@pytest.mark.parametrize("outcome", [one for one in Outcome if one not in (Outcome.APPLIED, Outcome.UNCHANGED)])
def test_every_failure_has_words(outcome: Outcome) -> None:
    words = explain(UpdateError(outcome, "seen"), SETTINGS)
    assert "{" not in words
    named = {
        Outcome.BADKEY: ("fairlead", "hmac-sha256", "db.test"),
        Outcome.BADSIG: ("fairlead", "/etc/fairlead/key"),
        Outcome.BADTIME: ("fairlead", "clock", "300 s"),
        Outcome.NOTAUTH: ("db.test",),
        Outcome.REFUSED: ("db.test", "fairlead", "update-policy"),
        Outcome.NOTZONE: ("db.test",),
        Outcome.CONFLICT: ("seen",),
        Outcome.REJECTED: ("seen",),
        Outcome.UNREACHABLE: ("seen",),
        Outcome.TIMEOUT: ("5 s",),
    }
    assert all(word in words for word in named.get(outcome, ()))


@pytest.mark.parametrize(
    ("rcode", "outcome"),
    [
        (1, Outcome.REJECTED),
        (2, Outcome.SERVFAIL),
        (4, Outcome.REJECTED),
        (5, Outcome.REFUSED),
        (9, Outcome.NOTAUTH),
        (10, Outcome.NOTZONE),
    ],
)
def test_response_codes(rcode: int, outcome: Outcome) -> None:
    check_rcode(0)
    with pytest.raises(UpdateError) as caught:
        check_rcode(rcode)
    assert caught.value.outcome is outcome


def test_what_stands_at_a_place() -> None:
    assert standing_at(PLACE, Reply(0, answer=(FOUND,), authoritative=True)) == FOUND
    assert standing_at(PLACE, Reply(0, authoritative=True)) is None
    assert standing_at(PLACE, Reply(Rcode.NXDOMAIN, authoritative=True)) is None


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(0, answer=(FOUND,)), Outcome.NOTAUTH),  # a resolver's, or a referral
        (Reply(Rcode.NXDOMAIN), Outcome.NOTAUTH),
        (Reply(Rcode.REFUSED), Outcome.REFUSED),
        (Reply(Rcode.SERVFAIL), Outcome.SERVFAIL),
        (Reply(0, answer=(ALIAS, FOUND), authoritative=True), Outcome.CONFLICT),
        (Reply(Rcode.NXDOMAIN, answer=(ALIAS,), authoritative=True), Outcome.CONFLICT),
    ],
)
def test_what_does_not_tell_what_stands_there(reply: Reply, outcome: Outcome) -> None:
    with pytest.raises(UpdateError) as caught:
        standing_at(PLACE, reply)
    assert caught.value.outcome is outcome
