"""Releases that the gate decides on: slower ones that it blocks, and unchanged ones that it should not."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from perfkit.stats.comparison import common_levels
from perfkit.stats.medians import smooth_median
from perfkit.stats.release import BLOCK, judge_release
from perfkit.stats.worlds import METHODS, sweep
from perfkit.workflows.scoreboard.claims import Entry, at_least, within

__all__ = ["ENTRIES", "blocked_by_gate", "blocked_by_levels"]

_SLOWDOWN = 0.1
_LAUNCHES, _ROUNDS = 3, 9
_HOSTS = 1000

Columns = dict[str, npt.NDArray[np.generic]]


def blocked_by_gate(seed: int, *, slowdown: float, shared_luck: float = 0.0) -> dict[str, float]:
    """A candidate and its baseline, each measured in three launches of nine rounds: whether `perfkit.gate` blocks."""
    from perfkit.workflows.gate import gate  # with all that reads a lake: half of what a process takes to start

    before, after = _sweeps(seed, slowdown, shared_luck)
    return {"blocked": float(gate(after, baseline=before).blocked)}


def blocked_by_levels(seed: int, *, slowdown: float, shared_luck: float = 0.0) -> dict[str, float]:
    """The same from the levels that the gate makes of such sweeps: many times as fast."""
    medians = [_launch_medians(columns) for columns in _sweeps(seed, slowdown, shared_luck)]
    levels = {name: common_levels(medians[0][at], medians[1][at]) for at, name in enumerate(METHODS)}
    before, after = ({name: both[side] for name, both in levels.items()} for side in (0, 1))
    return {"blocked": float(judge_release(before, after).verdict == BLOCK)}


def _sweeps(seed: int, slowdown: float, shared_luck: float) -> tuple[Columns, Columns]:
    world = functools.partial(sweep, host=seed % _HOSTS, launches=_LAUNCHES, rounds=_ROUNDS, shared_luck=shared_luck)
    return world(seed), world(seed + 1, slowdown=slowdown)


def _launch_medians(columns: Columns) -> npt.NDArray[np.float64]:
    """Smooth medians over rounds by method, size and launch."""
    shaped = np.log(np.asarray(columns["latency_ns"], float)).reshape(_LAUNCHES, _ROUNDS, len(METHODS), -1)
    return np.moveaxis(np.exp(smooth_median(shaped, axis=1)), 0, -1)


_SLOWER = at_least("blocked", "blocked", 0.9)
_UNCHANGED = within("blocked although unchanged", "blocked", 0, 0.02)

ENTRIES = (
    Entry(
        "gate-slower",
        "release slower by a tenth, 3 launches of 9 rounds, 5 methods, 8 sizes",
        functools.partial(blocked_by_levels, slowdown=_SLOWDOWN),
        (_SLOWER,),
        run_s=0.005,
        small_runs=200,
    ),
    Entry(
        "gate-unchanged",
        "unchanged release, likewise",
        functools.partial(blocked_by_levels, slowdown=0.0),
        (_UNCHANGED,),
        run_s=0.005,
        small_runs=200,
    ),
    Entry(
        "gate-shared-luck",
        "unchanged release, all methods of a launch share its luck",
        functools.partial(blocked_by_levels, slowdown=0.0, shared_luck=1.0),
        (within("blocked although unchanged", "blocked", 0, 0.03),),
        run_s=0.005,
        small_runs=200,
    ),
    Entry(
        "gate-whole-slower",
        "release slower by a tenth, judged from its rows by perfkit.gate",
        functools.partial(blocked_by_gate, slowdown=_SLOWDOWN),
        (_SLOWER,),
        run_s=0.03,
        small_runs=20,
        full_runs=1000,
    ),
    Entry(
        "gate-whole-unchanged",
        "unchanged release, likewise",
        functools.partial(blocked_by_gate, slowdown=0.0),
        (_UNCHANGED,),
        run_s=0.03,
        small_runs=20,
        full_runs=1000,
    ),
)
