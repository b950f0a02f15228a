"""What a failover is said to have cost."""

from __future__ import annotations

import pytest

from bench.demo.ledger import Ack, Gap, measure, summarise


def test_a_gap_lies_between_the_old_primary_and_the_new() -> None:
    routed = [Ack(9.0, "a"), Ack(9.9, "a"), Ack(10.6, "b"), Ack(10.7, "b")]
    direct = [Ack(9.95, "a"), Ack(10.5, "b"), Ack(10.52, "b")]
    gap = measure(routed, direct, began=9.5, old="a")
    assert gap.gap == pytest.approx(0.7)
    assert gap.group == pytest.approx(0.55)
    assert gap.added == pytest.approx(0.1)


def test_acknowledgements_of_an_earlier_primary_do_not_count_as_the_new_one() -> None:
    routed = [Ack(1.0, "b"), Ack(9.9, "a"), Ack(10.6, "b")]
    direct = [Ack(9.95, "a"), Ack(10.5, "b")]
    assert measure(routed, direct, began=9.5, old="a").gap == pytest.approx(0.7)


def test_a_change_that_nobody_wrote_after_is_an_error() -> None:
    with pytest.raises(ValueError, match="through the router"):
        measure([Ack(9.0, "a")], [Ack(9.0, "a"), Ack(10.0, "b")], began=9.5, old="a")


def test_summaries_are_medians_with_every_event() -> None:
    assert summarise([])["gap_s"] is None
    summary = summarise([Gap(3.0, 1.0, 0.3), Gap(1.0, 1.0, 0.1), Gap(2.0, 1.0, 0.2)])
    assert (summary["gap_s"], summary["added_s"], summary["events"], len(summary["each"])) == (2.0, 0.2, 3, 3)
