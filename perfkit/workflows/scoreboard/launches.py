"""Quantiles, comparisons of launches and regret: whether their intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.comparison import compare_launches
from perfkit.stats.histogram import LogHistogram
from perfkit.stats.quantiles import quantiles
from perfkit.stats.regret import cost_table, regret_of
from perfkit.workflows.scoreboard.claims import Entry, at_least, within

__all__ = ["ENTRIES"]

Floats = npt.NDArray[np.float64]

_ROWS = 5000
_LEVELS = (0.5, 0.95, 0.99)
_ROW_SD = 0.5
_LAUNCH_SD = 0.05
_DISTRIBUTION_FREE = 0.945
"""Such an interval covers the truth in at least 95 of 100 cases, and in little more: this bound can be decided."""
_PAYLOADS, _REPETITIONS = 80, 8
_GAP_SD, _SEND_SD = 0.3, 0.1


def independent_rows(seed: int) -> dict[str, float]:
    """Lognormal rows: whether the intervals of their quantiles hold the truth, exact and from a histogram."""
    rows = np.random.default_rng(seed).lognormal(0.0, _ROW_SD, _ROWS)
    histogram = LogHistogram.from_values(rows)
    covered = {}
    for one in quantiles(rows, _LEVELS):
        truth = _lognormal(one.q, _ROW_SD)
        merged = histogram.interval(one.q)
        covered[f"exact {one.name}"] = float(one.low <= truth <= one.high)
        covered[f"histogram {one.name}"] = float(merged.low <= truth <= merged.high)
    return covered


def rows_of_launches(seed: int, *, launches: int = 5) -> dict[str, float]:
    """Rows that share the luck of their launch: whether the interval holds the quantile of a launch without any."""
    rng = np.random.default_rng(seed)
    luck = rng.normal(0.0, _LAUNCH_SD, (launches, 1))
    rows = np.exp(luck + rng.normal(0.0, _ROW_SD, (launches, _ROWS // launches)))
    found = quantiles(rows.ravel(), _LEVELS, clusters=np.repeat(np.arange(launches), rows.shape[1]))
    return {one.name: float(one.low <= _lognormal(one.q, _ROW_SD) <= one.high) for one in found}


def two_groups(seed: int) -> dict[str, float]:
    """Launches of which nothing, and of which a tenth changed: false alarm, and whether the interval holds it."""
    rng = np.random.default_rng(seed)
    before, after = rng.lognormal(0.0, _LAUNCH_SD, (2, 5))
    same, slower = (compare_launches(before, after * factor, margin=0.05) for factor in (1.0, 1.1))
    return {
        "false": float(same.p_different <= 0.05),
        "covered": float(slower.low <= 0.1 <= slower.high),
    }


def chosen_method(seed: int) -> dict[str, float]:
    """A strategy that always takes the same of two methods: whether the interval of its regret holds the true one."""
    rng = np.random.default_rng(seed)
    gap = rng.normal(0.0, _GAP_SD, _PAYLOADS)  # logarithm of what the other method costs more
    payload, method, half, _ = np.indices((_PAYLOADS, 2, 2, _REPETITIONS)).reshape(4, -1)
    cost = np.exp(method * gap[payload] + rng.normal(0.0, _SEND_SD, payload.size))
    found = regret_of(cost_table(payload, np.array(["first", "second"])[method], half, cost), np.zeros(_PAYLOADS, int))
    truth = math.expm1(_GAP_SD / math.sqrt(2 * math.pi))  # the mean of what is below zero of a normal variable
    return {"covered": float(found.low <= truth <= found.high)}


def _lognormal(level: float, spread: float) -> float:
    return math.exp(spread * float(special.ndtri(level)))


ENTRIES = (
    Entry(
        "quantiles",
        "quantiles of 5000 independent rows",
        independent_rows,
        tuple(
            at_least(f"coverage, {way} p{100 * level:g}", f"{way} p{100 * level:g}", _DISTRIBUTION_FREE)
            for way in ("exact", "histogram")
            for level in _LEVELS
        ),
        run_s=0.002,
        small_runs=1000,
    ),
    Entry(
        "quantiles-launches",
        "quantiles of rows from 5 launches",
        rows_of_launches,
        tuple(within(f"coverage, p{100 * q:g}", f"p{100 * q:g}", 0.94, 0.96) for q in _LEVELS),
        run_s=0.002,
        small_runs=1000,
    ),
    Entry(
        "launches",
        "two groups of 5 launches, alike or a tenth apart",
        two_groups,
        (
            within("false alarms at 5 %", "false", 0, 0.055),
            within("coverage", "covered", 0.94, 0.965),
        ),
        run_s=0.0015,
        small_runs=1000,
    ),
    Entry(
        "regret",
        "regret of a fixed choice between two methods, 80 payloads",
        chosen_method,
        (within("coverage", "covered", 0.93, 0.97),),
        run_s=0.003,
        small_runs=200,
    ),
)
