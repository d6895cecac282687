"""What a result says of estimates whose interval is unknown."""

from __future__ import annotations

import math

from perfkit.stats.hierarchical import Estimate
from perfkit.workflows.bench_result import _interval, format_latency


def test_unknown_interval_is_said_so_not_shown_as_a_number():
    alone = Estimate(2000.0, 0.0, math.inf, n=1, launches=1)
    assert format_latency(alone) == "2us (n=1)"
    assert _interval(alone) == "unknown"


def test_known_interval_is_shown():
    several = Estimate(2000.0, 1000.0, 3000.0, n=9, launches=3)
    assert format_latency(several) == "2us ±100%"
    assert _interval(several) == "1e+03 to 3e+03"
