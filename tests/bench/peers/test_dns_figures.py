"""What the DNS figures are made of: questions, zone files, and dnsperf's words."""

from __future__ import annotations

import itertools

import dns.zone
import pytest

from bench.peers.dns_answers import parse_dnsperf, unusual, usual, zone
from bench.peers.zone_files import zone_text
from bench.sandbox.errors import SandboxError

SAID = """
Statistics:

  Queries sent:         201577
  Queries completed:    201570 (100.00%)
  Queries lost:         7 (0.00%)

  Response codes:       NOERROR 200000 (99.22%), NXDOMAIN 1570 (0.78%)
  Average packet size:  request 70, response 206
  Run time (s):         2.000102
  Queries per second:   100779.860227

  Average Latency (s):  0.000890 (min 0.000034, max 0.005124)
  Latency StdDev (s):   0.000221
"""


def test_dnsperf_is_understood() -> None:
    one = parse_dnsperf(SAID, 1.5)
    assert one.answers == pytest.approx(100779.86, abs=0.01)
    assert (one.lost, one.codes) == (7, {"NOERROR", "NXDOMAIN"})
    assert one.latency == pytest.approx(0.89)
    assert one.busy == pytest.approx(201570 / 1.5)


def test_dnsperf_that_says_something_else_is_not() -> None:
    with pytest.raises(SandboxError, match="Queries per second"):
        parse_dnsperf("Error: no such file", 1.0)


def test_a_zone_file_has_all_records() -> None:
    one = zone(7)
    read = dns.zone.from_text(zone_text(one), one.origin, relativize=False)
    assert sum(len(rdataset) for _, rdataset in read.iterate_rdatasets()) == 1 + sum(
        len(rrset.records) for rrset in one.rrsets
    )


def test_questions() -> None:
    zones = [zone(number) for number in range(3)]
    assert len(list(usual(zones))) == 3 * (6 + 3)
    some = list(itertools.islice(unusual(zones), 100))
    assert len(set(some)) == 100
    assert sum(line.startswith("x") for line in some) == 10
