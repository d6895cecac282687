"""Off-policy values: whether their intervals hold what the candidate truly costs, and what the gate makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.stats.off_policy import off_policy_value
from perfkit.stats.verdicts import WORSE
from perfkit.stats.worlds import METHODS, true_latency_ns
from perfkit.workflows.scoreboard.claims import Entry, at_least, within

__all__ = ["ENTRIES"]

Floats = npt.NDArray[np.float64]

_SMALLEST, _LARGEST = 2.0**10, 2.0**26
_SEND_SD, _SESSION_SD, _STALLS = 0.2, 0.1, 0.01
_MODEL_SD = 0.5
"""Of the logarithm: how far a wrong model is off for each method."""
_FAIR_MODEL_SD = 0.1
_ROWS_PER_SESSION = 20
_NAMES = np.array(METHODS)


def explored_traffic(
    seed: int, *, rows: int = 10_000, rate: float = 0.05, is_same: bool = False, model_sd: float = _MODEL_SD
) -> dict[str, Any]:
    """A service whose plan takes one method below a size and another above it, and explores; with the true ratios."""
    rng = np.random.default_rng(seed)
    fixed, at_1mib = np.array([[true_latency_ns(seed, name, at) for name in METHODS] for at in (0, 2**20)])
    per_byte = (at_1mib - fixed) / 2**20
    edge = math.exp(rng.uniform(math.log(2.0**13), math.log(2.0**21)))
    below, above, other = rng.permutation(len(METHODS))[:3]
    size = np.exp(rng.uniform(math.log(_SMALLEST), math.log(_LARGEST), rows))
    usual = np.where(size < edge, below, above)
    chosen = usual if is_same else np.where(size < edge, below, other)
    explored = rng.random(rows) < rate
    taken = np.where(explored, (usual + rng.integers(1, len(METHODS), rows)) % len(METHODS), usual)
    session = np.arange(rows) // _ROWS_PER_SESSION
    luck = rng.normal(0, _SESSION_SD, session[-1] + 1)[session]
    stall = np.where(rng.random(rows) < _STALLS, rng.exponential(4.0, rows), 0.0)
    truth = fixed[:, None] + np.outer(per_byte, size)
    row = np.arange(rows)
    cost = truth[taken, row] * np.exp(luck + rng.normal(0, _SEND_SD, rows)) * (1 + stall)
    model = truth * np.exp(rng.normal(0, model_sd, len(METHODS)))[:, None]
    return {
        "cost": cost,
        "propensity": np.where(explored, rate / (len(METHODS) - 1), 1 - rate),
        "logged": _NAMES[taken],
        "chosen": _NAMES[chosen],
        "against": _NAMES[usual],
        "predicted_logged": model[taken, row],
        "predicted_chosen": model[chosen, row],
        "predicted_against": model[usual, row],
        "clusters": session,
        "true_log_ratio": 0.0 if is_same else _true_log_ratio(fixed, per_byte, int(above), int(other), edge),
        "true_mean_ratio": 1.0 if is_same else _true_mean_ratio(fixed, per_byte, (below, above, other), edge),
    }


def coverage(seed: int) -> dict[str, float]:
    """Whether intervals of the ratio hold the truth, with a model that is wrong and with none."""
    return _covers(explored_traffic(seed), "geometric")


def coverage_of_mean(seed: int) -> dict[str, float]:
    """The same of mean costs, which few large payloads and stalls decide; with a model that is off by a tenth."""
    return _covers(explored_traffic(seed, model_sd=_FAIR_MODEL_SD), "mean")


def _covers(log: dict[str, Any], scale: str) -> dict[str, float]:
    truths = {"geometric": math.exp(log.pop("true_log_ratio")), "mean": log.pop("true_mean_ratio")}
    truth, found = truths[scale], {}
    for method in ("doubly_robust", "snips"):
        low, high = off_policy_value(**log, method=method, scale=scale).ratio_interval
        found[method] = float(low <= truth <= high) if math.isfinite(high) else math.nan
    return found


def decisions(seed: int) -> dict[str, float]:
    """Whether a candidate that truly is better, or worse by a fifth or more, is found to be worse."""
    log = explored_traffic(seed, rows=20_000, rate=0.1)
    true_log_ratio = log.pop("true_log_ratio")
    del log["true_mean_ratio"]
    is_worse = float(off_policy_value(**log).verdict == WORSE)
    return {
        "refused, better": is_worse if true_log_ratio <= 0 else math.nan,
        "refused, worse": is_worse if true_log_ratio >= math.log(1.2) else math.nan,
    }


def _true_log_ratio(fixed: Floats, per_byte: Floats, usual: int, chosen: int, edge: float) -> float:
    """Of all traffic: sizes that are even in their logarithm, costs that differ from `edge` on."""
    size = np.exp(np.linspace(math.log(edge), math.log(_LARGEST), 2001))
    gap = np.log((fixed[chosen] + per_byte[chosen] * size) / (fixed[usual] + per_byte[usual] * size))
    share = math.log(_LARGEST / edge) / math.log(_LARGEST / _SMALLEST)
    return share * float(gap.mean())


def _true_mean_ratio(fixed: Floats, per_byte: Floats, methods: tuple[Any, Any, Any], edge: float) -> float:
    """As `_true_log_ratio`, of mean costs: what is usual below the edge and above it, and what is chosen above it."""
    size = np.exp(np.linspace(math.log(_SMALLEST), math.log(_LARGEST), 20_001))
    below, usual, chosen = (fixed[at] + per_byte[at] * size for at in methods)
    return float(np.where(size < edge, below, chosen).mean() / np.where(size < edge, below, usual).mean())


ENTRIES = (
    Entry(
        "off-policy",
        "off-policy value, 10 000 transfers, one in twenty explored over four methods",
        coverage,
        (
            within("coverage, doubly robust with a wrong model", "doubly_robust", 0.92, 0.98),
            within("coverage, snips", "snips", 0.92, 0.98),
        ),
        run_s=0.1,
        small_runs=100,
        full_runs=2000,
    ),
    Entry(
        "off-policy-mean",
        "the same of mean costs; with a model that is off by a tenth",
        coverage_of_mean,
        (
            within("coverage, doubly robust", "doubly_robust", 0.92, 0.98),
            within("coverage, snips", "snips", 0.92, 0.98),
        ),
        run_s=0.1,
        small_runs=50,
        full_runs=2000,
    ),
    Entry(
        "off-policy-gate",
        "candidates judged by 20 000 transfers, one in ten explored",
        decisions,
        (
            within("better candidates found worse", "refused, better", 0.0, 0.05),
            at_least("candidates worse by a fifth found so", "refused, worse", 0.9),
        ),
        run_s=0.1,
        small_runs=100,
        full_runs=2000,
    ),
)
