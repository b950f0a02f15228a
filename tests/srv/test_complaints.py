"""The ration of complaints."""

from __future__ import annotations

from srv.complaints import LINES_PER_WINDOW, PEER_SILENCE, PEERS_REMEMBERED, WINDOW, Ration


def test_a_peer_is_news_once_a_minute() -> None:
    ration = Ration()
    admitted = [now for now in range(180) if ration.admits("192.0.2.1", float(now))]
    assert admitted == [0, PEER_SILENCE, 2 * PEER_SILENCE]
    assert ration.take_withheld() == 177
    assert ration.take_withheld() == 0


def test_many_peers_share_a_bounded_number_of_lines() -> None:
    ration = Ration()
    assert sum(ration.admits(f"peer {number}", 0.0) for number in range(1000)) == LINES_PER_WINDOW
    assert sum(ration.admits(f"other {number}", WINDOW) for number in range(1000)) == LINES_PER_WINDOW


def test_what_is_remembered_is_bounded() -> None:
    ration = Ration()
    for number in range(3 * PEERS_REMEMBERED):
        ration.admits(f"peer {number}", number * WINDOW)
    assert len(ration._last) == PEERS_REMEMBERED
