"""Experiments that are looked at once: how often they see what is not there, and what is."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from scipy import stats

from perfkit.stats.experiments import ABResult, ab
from perfkit.stats.experiments.sample_ratio import sample_ratio
from perfkit.stats.experiments.switchback import switchback, switchback_schedule
from perfkit.stats.worlds import ab_traffic, ab_truth
from perfkit.workflows.scoreboard.claims import Claim, Entry, at_least, paired_gain, within

__all__ = ["ENTRIES"]

_STATISTICS = ("mean", "p50", "p95", "p99")
_METRICS = {"latency_ns": _STATISTICS}
_ALPHA = 0.05
_EFFECT = 0.1
_PAIRS, _ROWS_PER_BLOCK, _BLOCK_NS = 16, 40, 60 * 10**9
_DRIFT_SD = 0.05
_SPLIT_UNITS = 10_000
_SPLIT_LOST = 0.1


def null_experiment(seed: int, *, statistics: tuple[str, ...] = _STATISTICS, **world: Any) -> dict[str, float]:
    """An A/A: for each statistic whether it was rejected."""
    result = ab(ab_traffic(seed, **world), metrics={"latency_ns": statistics}, alpha=_ALPHA)
    return {one.statistic: _happened(one.p_value <= _ALPHA, one.is_known) for one in result.effects}


def true_effect(seed: int, *, effect: float = 0.0, tail_effect: float = 0.0, **world: Any) -> dict[str, float]:
    """An experiment with an effect: for each statistic whether its interval holds it, and whether the mean's was found,
    beside Welch's test on session means."""
    traffic = ab_traffic(seed, effect=effect, tail_effect=tail_effect, **world)
    result = ab(traffic, metrics=_METRICS, alpha=_ALPHA)
    found = {
        statistic: _covers(result, statistic, ab_truth(statistic, effect=effect, tail_effect=tail_effect))
        for statistic in _STATISTICS
    }
    found["found"] = float(result.metric("latency_ns", "mean").verdict in ("better", "worse"))
    in_b = traffic["variant"] == "B"
    means = [_session_means(traffic["session"][rows], traffic["latency_ns"][rows]) for rows in (~in_b, in_b)]
    found["welch"] = float(stats.ttest_ind(*means, equal_var=False).pvalue <= _ALPHA)
    return found


def adjusted_effect(seed: int, *, effect: float) -> dict[str, float]:
    """Coverage and power of the mean with and without what is known of each session from before."""
    traffic = ab_traffic(seed, effect=effect)
    truth = ab_truth("mean", effect=effect)
    plain, sharper = (
        ab(traffic, metrics={"latency_ns": ["mean"]}, alpha=_ALPHA, covariate=covariate)
        for covariate in (None, "earlier_ns")
    )
    return {
        "covered": _covers(sharper, "mean", truth),
        "found": float(sharper.effects[0].p_value <= _ALPHA),
        "found plainly": float(plain.effects[0].p_value <= _ALPHA),
    }


def split(seed: int) -> dict[str, float]:
    """Whether the check of the sample ratio speaks: where units are split as planned, and where B loses a tenth."""
    rng = np.random.default_rng(seed)
    in_b = int(rng.binomial(_SPLIT_UNITS, 0.5))
    counts = {"A": _SPLIT_UNITS - in_b, "B": in_b}
    lossy = {"A": counts["A"], "B": in_b - int(rng.binomial(in_b, _SPLIT_LOST))}
    planned = {"A": 0.5, "B": 0.5}
    return {
        "false": float(sample_ratio(counts, planned).is_off),
        "true": float(sample_ratio(lossy, planned).is_off),
    }


def turns(seed: int, *, effect: float) -> dict[str, float]:
    """Two variants that take turns on a host that drifts: whether an effect was seen, and whether the interval holds
    the true one."""
    rng = np.random.default_rng(seed)
    schedule = switchback_schedule(_PAIRS, _BLOCK_NS, seed=seed)
    block = np.repeat(np.arange(2 * _PAIRS), _ROWS_PER_BLOCK)
    moment = block * _BLOCK_NS + rng.integers(0, _BLOCK_NS, block.size)
    drift = np.cumsum(rng.normal(0.0, _DRIFT_SD, 2 * _PAIRS))
    slower = np.where(schedule.variant_at(moment) == "B", 1 + effect, 1.0)
    latency = 1e6 * slower * np.exp(drift[block]) * rng.lognormal(0.0, 0.3, block.size)
    found = switchback({"observed_at": moment, "latency_ns": latency}, schedule, variant=None)
    low, high = found.interval
    return {"rejected": float(found.p_value <= _ALPHA), "covered": float(low <= effect <= high)}


def _covers(result: ABResult, statistic: str, truth: float) -> float:
    effect = result.metric("latency_ns", statistic)
    low, high = effect.interval
    return _happened(low <= truth <= high, effect.is_known)


def _happened(happened: bool, is_known: bool) -> float:
    return float(happened) if is_known else math.nan


def _session_means(session: Any, latency_ns: Any) -> Any:
    count = np.bincount(session)
    return np.bincount(session, latency_ns)[count > 0] / count[count > 0]


def _rejections(low: float, high: float, statistics: tuple[str, ...] = _STATISTICS) -> tuple[Claim, ...]:
    return tuple(within(f"rejected at 5 %, {name}", name, low, high) for name in statistics)


_COVERAGE = tuple(within(f"coverage, {name}", name, 0.94, 0.96) for name in _STATISTICS)
_OTHERS = ("ratio", "rank")

ENTRIES = (
    Entry(
        "ab-null",
        "A/A, 600 sessions of about 30 requests",
        functools.partial(null_experiment, sessions=600),
        _rejections(0.04, 0.06),
        run_s=0.004,
        small_runs=400,
    ),
    Entry(
        "ab-null-small",
        "A/A, 150 sessions",
        functools.partial(null_experiment, sessions=150),
        _rejections(0.035, 0.065),
        run_s=0.002,
        small_runs=400,
    ),
    Entry(
        "ab-null-uneven",
        "A/A, 600 sessions, a fifth of them B",
        functools.partial(null_experiment, sessions=600, share=0.2),
        _rejections(0.035, 0.065),
        run_s=0.004,
        small_runs=200,
    ),
    Entry(
        "ab-null-others",
        "A/A, 600 sessions: ratio of sums, Mann-Whitney on sessions",
        functools.partial(null_experiment, sessions=600, statistics=_OTHERS),
        _rejections(0.04, 0.06, _OTHERS),
        run_s=0.013,
        small_runs=200,
    ),
    Entry(
        "ab-effect",
        "B slower by a tenth, 600 sessions",
        functools.partial(true_effect, effect=_EFFECT),
        (
            *_COVERAGE,
            Claim("power for the mean, less Welch's", ("found", "welch"), paired_gain, low=-0.02),
        ),
        run_s=0.006,
        small_runs=400,
    ),
    Entry(
        "ab-tail",
        "only the slowest tenth of B slower, by 30 %; 600 sessions",
        functools.partial(true_effect, tail_effect=0.3),
        _COVERAGE,
        run_s=0.006,
        small_runs=200,
    ),
    Entry(
        "ab-adjusted",
        "mean adjusted by what is known from before (CUPED), +5 %",
        functools.partial(adjusted_effect, effect=_EFFECT / 2),
        (
            within("coverage", "covered", 0.94, 0.96),
            Claim("power, less that without", ("found", "found plainly"), paired_gain, low=0.0),
        ),
        run_s=0.005,
        small_runs=200,
    ),
    Entry(
        "switchback-null",
        "variants that take turns, 16 pairs of blocks, no effect",
        functools.partial(turns, effect=0.0),
        (within("rejected at 5 %", "rejected", 0.035, 0.065),),
        run_s=0.014,
        small_runs=100,
    ),
    Entry(
        "switchback-effect",
        "variants that take turns, B slower by a tenth",
        functools.partial(turns, effect=_EFFECT),
        (within("coverage", "covered", 0.935, 0.965),),
        run_s=0.014,
        small_runs=100,
    ),
    Entry(
        "sample-ratio",
        "check of the split: 10 000 sessions; none, or a tenth of B, lost",
        split,
        (within("false alarms", "false", 0, 0.002), at_least("losses found", "true", 0.95)),
        run_s=0.0002,
        small_runs=2000,
    ),
)
