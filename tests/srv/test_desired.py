"""What is wanted published, in words and as a zone."""

from __future__ import annotations

from srv.desired import Desired
from srv.zone import Part, ZoneMember

M1 = ZoneMember("m1", ("192.0.2.1",), 3306, 33060, frozenset({Part.PRIMARY}))
M2 = ZoneMember("m2", ("192.0.2.2",), 3306, 33060)


def test_in_words() -> None:
    assert Desired("db.test", (M2, M1)).describe() == "members=m1,m2 primary=m1 replicas=none"
    assert Desired("db.test", (), roles_known=False).describe() == "members=none primary=unknown replicas=unknown"


def test_role_names_are_withheld_until_roles_are_known() -> None:
    assert Desired("db.test", (M1,), roles_known=False).zone(serial=1).withheld
    assert not Desired("db.test", (M1,)).zone(serial=1).withheld
