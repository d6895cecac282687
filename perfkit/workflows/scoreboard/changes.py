"""Histories of benchmarks: false alarms where nothing changed, and steps that are found."""

from __future__ import annotations

import functools
import math

from perfkit.stats.change_points import change_points
from perfkit.stats.worlds import NOISES, benchmark_series
from perfkit.workflows.scoreboard.claims import Claim, Entry, at_least, share, within

__all__ = ["ENTRIES"]

_POINTS = 200
_AFTER = 12
_STEP = 0.1
_NEAR, _FOUND_WITHIN = 3, 12
_ACCEPTED = {"ar1": 0.03, "two_machines": 0.02}
_TITLES = {
    "normal": "normal noise",
    "lognormal": "lognormal noise",
    "ar1": "autocorrelation 0.5",
    "spikes": "spikes",
    "two_machines": "points from two machines",
}


def stationary(seed: int, *, noise: str) -> dict[str, float]:
    """A history without a change: whether one was seen."""
    return {"flagged": float(len(change_points(benchmark_series(seed, points=_POINTS, noise=noise))) > 0)}


def step(seed: int, *, noise: str = "normal") -> dict[str, float]:
    """A history with a step: whether it was found, and where."""
    at = _POINTS - _AFTER
    found = change_points(benchmark_series(seed, points=_POINTS, noise=noise, step_at=at, step=_STEP))
    off = min((abs(one.index - at) for one in found if one.relative > 0), default=_POINTS)
    is_found = off <= _FOUND_WITHIN
    return {"found": float(is_found), "near": float(off <= _NEAR) if is_found else math.nan}


ENTRIES = (
    *(
        Entry(
            f"series-{noise}".replace("_", "-"),
            f"200 points without a change, spread 5 %, {_TITLES[noise]}",
            functools.partial(stationary, noise=noise),
            (within("series with a false alarm", "flagged", 0, _ACCEPTED.get(noise, 0.01)),),
            run_s=0.008,
            small_runs=200,
        )
        for noise in NOISES
    ),
    Entry(
        "series-step",
        "200 points, spread 5 %, +10 % with 12 points after it",
        step,
        (
            at_least("steps found", "found", 0.85),
            Claim("of these within 3 points of the place", ("near",), share, low=0.8),
        ),
        run_s=0.012,
        small_runs=200,
    ),
)
