"""What sysbench says, and our script for it."""

from __future__ import annotations

import pytest

from bench.sandbox.errors import SandboxError
from bench.speed.cases import LARGE_BYTES
from bench.speed.sysbench import LARGE, percentile, read

SAID = """
Running the test with following options:
Number of threads: 8

Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.100 |****************************************  50
       0.200 |***********************************       45
       0.900 |***                                       4
      12.000 |                                          1

SQL statistics:
    queries performed:
        read:                            90
        write:                           0
        other:                           10
        total:                           100
    transactions:                        100    (49.98 per sec.)
    queries:                             100    (49.98 per sec.)
    ignored errors:                      0      (0.00 per sec.)
    reconnects:                          0      (0.00 per sec.)

General statistics:
    total time:                          2.0007s
    total number of events:              100
"""


def test_sysbench_is_understood() -> None:
    said = read(SAID)
    assert (said.queries, said.errors, said.seconds) == (100, 0, 2.0007)
    assert (said.p50, said.p95, said.p99) == (0.1, 0.2, 0.9)
    assert read(SAID.replace("ignored errors:                      0", "ignored errors:   3")).errors == 3


def test_sysbench_that_says_something_else_is_not() -> None:
    with pytest.raises(SandboxError, match="no latency histogram"):
        read("FATAL: unable to connect")
    with pytest.raises(SandboxError, match="says nothing of 'total:"):
        read(SAID.replace("total:  ", "sum:"))


def test_percentiles() -> None:
    assert [percentile([(1.0, 1), (2.0, 0), (3.0, 1)], share) for share in (0.0, 0.5, 0.51, 1.0)] == [1, 1, 3, 3]


def test_the_large_result_is_one_row() -> None:
    assert str(LARGE_BYTES) in LARGE
