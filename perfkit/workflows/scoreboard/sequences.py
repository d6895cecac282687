"""Experiments that are looked at again and again: false alarms at any look, and how soon an effect is found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from perfkit.stats.experiments.clustered_quantiles import estimate_quantile
from perfkit.stats.experiments.estimates import Estimate, estimate_mean
from perfkit.stats.experiments.power import pilot, units_needed
from perfkit.stats.experiments.sequential import sequential_p_value
from perfkit.stats.experiments.units import Arm, arm
from perfkit.stats.worlds import ab_traffic
from perfkit.workflows.scoreboard.claims import Entry, at_most_mean, within

__all__ = ["ENTRIES", "looks"]

_ALPHA = 0.05
_LOOKS = 100
_SESSIONS = 600
_EFFECT = 0.1
_LOOKS_PER_PLAN = 20
"""Looks in the time that the fixed test needs."""
_LONGEST = 5
"""Times the fixed test's units: who has found nothing by then stops."""
_PILOT_SESSIONS = 10_000
_PILOT_SEED = 20_000

_ESTIMATES: dict[str, Callable[[Arm, Arm], Estimate]] = {
    "mean": estimate_mean,
    "p50": functools.partial(estimate_quantile, q=0.5),
    "p95": functools.partial(estimate_quantile, q=0.95),
    "p99": functools.partial(estimate_quantile, q=0.99),
}


def looks(traffic: dict[str, npt.NDArray[np.generic]], edges: npt.NDArray[np.int64]) -> Iterator[tuple[Arm, Arm]]:
    """Both arms at each look: what the sessions below an edge did, sessions arriving in the order of their number.

    Rows are put in order once; for the rest, a look is what `perfkit.ab` makes of the same rows.
    """
    in_b = np.asarray(traffic["variant"] == "B")
    sides = []
    for rows in (~in_b, in_b):
        session = np.asarray(traffic["session"][rows], np.int64)
        order = np.argsort(session, kind="stable")
        sides.append((session[order], np.asarray(traffic["latency_ns"][rows][order], float)))
    ends = [np.searchsorted(session, edges) for session, _ in sides]
    for first, second in zip(*ends, strict=True):
        if first and second:
            yield tuple(  # type: ignore[misc]
                arm(values[:end], session[:end]) for (session, values), end in zip(sides, (first, second), strict=True)
            )


def null_sequence(seed: int) -> dict[str, float]:
    """An A/A with many looks: for each statistic whether any of them rejected."""
    traffic = ab_traffic(seed, sessions=_SESSIONS)
    rejected = dict.fromkeys(_ESTIMATES, 0.0)
    edges = np.linspace(_SESSIONS / _LOOKS, _SESSIONS, _LOOKS).round().astype(np.int64)
    for control, variant in looks(traffic, edges):
        for name, estimate in _ESTIMATES.items():
            if not rejected[name] and _is_found(estimate(control, variant)):
                rejected[name] = 1.0
    return rejected


def stopping(seed: int, *, statistic: str) -> dict[str, float]:
    """Units until an effect is found, as a multiple of what a fixed test with 80 % power needs; and whether it was."""
    planned = fixed_units(statistic)
    longest = _LONGEST * planned
    edges = np.linspace(planned / _LOOKS_PER_PLAN, longest, _LONGEST * _LOOKS_PER_PLAN).round().astype(np.int64)
    traffic = ab_traffic(seed, sessions=longest, effect=_EFFECT)
    for control, variant in looks(traffic, edges):
        if _is_found(_ESTIMATES[statistic](control, variant)):
            return {"ratio": (control.n_units + variant.n_units) / planned, "late": 0.0}
    return {"ratio": float(_LONGEST), "late": 1.0}


def fixed_power(seed: int, *, statistic: str) -> dict[str, float]:
    """Whether the fixed test finds the effect with the units that the plan says are needed."""
    from perfkit.stats.experiments import ab

    traffic = ab_traffic(seed, sessions=fixed_units(statistic), effect=_EFFECT)
    return {"found": float(ab(traffic, metrics={"latency_ns": [statistic]}).effects[0].p_value <= _ALPHA)}


@functools.cache
def fixed_units(statistic: str) -> int:
    """Units that a fixed test needs to find the effect in 80 of 100 experiments, planned from what was recorded."""
    recorded = ab_traffic(_PILOT_SEED, sessions=_PILOT_SESSIONS)
    return units_needed(pilot(recorded, "latency_ns", statistic), _EFFECT, 0.8)


def _is_found(estimate: Estimate) -> bool:
    return estimate.is_known and sequential_p_value(estimate) <= _ALPHA


ENTRIES = (
    Entry(
        "sequence-null",
        "A/A, 600 sessions, looked at 100 times",
        null_sequence,
        tuple(within(f"any rejection, {name}", name, 0, _ALPHA) for name in _ESTIMATES),
        run_s=0.085,
        small_runs=100,
    ),
    Entry(
        "sequence-stops-mean",
        "B slower by a tenth, looked at until the mean shows it",
        functools.partial(stopping, statistic="mean"),
        (
            at_most_mean("units, by those of a fixed test", "ratio", 1.5),
            within("not found by 5 times those", "late", 0, 0.01),
        ),
        run_s=0.011,
        small_runs=200,
    ),
    Entry(
        "sequence-stops-p95",
        "B slower by a tenth, looked at until the p95 shows it",
        functools.partial(stopping, statistic="p95"),
        (
            at_most_mean("units, by those of a fixed test", "ratio", 3.0),
            within("not found by 5 times those", "late", 0, 0.01),
        ),
        run_s=0.03,
        small_runs=200,
    ),
    Entry(
        "power-mean",
        "B slower by a tenth, as many sessions as planned for 80 % power",
        functools.partial(fixed_power, statistic="mean"),
        (within("found, mean", "found", 0.77, 0.83),),
        run_s=0.002,
        small_runs=200,
    ),
    Entry(
        "power-p95",
        "likewise for the p95",
        functools.partial(fixed_power, statistic="p95"),
        (within("found, p95", "found", 0.77, 0.83),),
        run_s=0.004,
        small_runs=200,
    ),
)
