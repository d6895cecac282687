"""A model's errors over time: how often intervals hold them, how soon a shift is noticed, how often one is imagined."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from perfkit.stats.conformal import calibrate, expected_errors, follow, start_adaptive
from perfkit.stats.drift import watch_errors
from perfkit.workflows.scoreboard.claims import Claim, Entry, at_least, at_most_mean, mean

__all__ = ["ENTRIES"]

Floats = npt.NDArray[np.float64]

_NOISE, _SLOWER = 0.20, 1.2
_STATIONARY, _HISTORY, _AFTER = 10_000, 2000, 2000
_LAUNCH = 500
_LAUNCH_SD = 0.05
_ALIKE = 0.5
_METHODS, _FROM_NOW = 5, 1000


def errors(generator: np.random.Generator, count: int, world: str) -> Floats:
    """Standardised errors of a model in a world that stays as it is."""
    noise = generator.standard_normal(count)
    if world == "stalls":
        noise += np.where(generator.random(count) < 0.01, generator.exponential(20.0, count), 0.0)
    elif world == "alike":
        noise = np.asarray(lfilter([np.sqrt(1 - _ALIKE**2)], [1, -_ALIKE], noise))
    elif world in ("launches", "running"):
        noise += np.repeat(generator.normal(0, _LAUNCH_SD / _NOISE, count // _LAUNCH + 1), _LAUNCH)[:count]
    return noise


def notices(seed: int, *, world: str) -> dict[str, float]:
    """One stationary stream, and one that becomes a fifth slower: alarms, delay, and intervals that follow."""
    generator = np.random.default_rng(seed)
    begins = _HISTORY + (_LAUNCH // 2 if world == "running" else 0)
    groups = np.arange(_STATIONARY) // _LAUNCH if world in ("launches", "running") else None
    alarms = len(watch_errors(errors(generator, _STATIONARY, world), scale=_NOISE, groups=groups).shifts)
    count = begins + _AFTER
    moved = errors(generator, count, world)
    moved[begins:] += np.log(_SLOWER) / _NOISE
    groups = None if groups is None else groups[:count]
    found = watch_errors(moved, scale=_NOISE, groups=groups, history=begins).shifts
    calibration = calibrate(moved[:begins])
    _, low, high = follow(start_adaptive(calibration), moved[begins:])
    held = (low <= moved[begins:]) & (moved[begins:] <= high)
    delay = found[0].noticed - begins if found else _AFTER
    return {"alarms": alarms, "soon": float(delay <= 300), "held_again": float(held[1000:].mean())}


def one_moves(seed: int) -> dict[str, float]:
    """One method of five becomes a fifth slower, among launches that differ: its own intervals, and the others'."""
    generator = np.random.default_rng(seed)
    method = generator.integers(0, _METHODS, _HISTORY + _FROM_NOW)
    launch = np.arange(method.size) // _LAUNCH
    luck = generator.normal(0, _LAUNCH_SD / _NOISE, (int(launch.max()) + 1, _METHODS))
    found = generator.standard_normal(method.size) + luck[launch, method]
    moved = (method == 0) & (np.arange(method.size) >= _HISTORY)
    found[moved] += np.log(_SLOWER) / _NOISE
    surprise = found[_HISTORY:] - expected_errors(found[_HISTORY:], method[_HISTORY:])
    _, low, high = follow(start_adaptive(calibrate(found[:_HISTORY])), surprise)
    inside = (low <= surprise) & (surprise <= high)
    return {"moved": float(inside[moved[_HISTORY:]].mean()), "others": float(inside[~moved[_HISTORY:]].mean())}


_ONE_MOVES = Entry(
    "drift-of-one",
    "intervals that follow, one method of five a fifth slower",
    one_moves,
    (
        Claim("90 % intervals of the method that moved, first 1000 errors", ("moved",), mean, 0.87, 0.93),
        Claim("90 % intervals of the others", ("others",), mean, 0.87, 0.93),
    ),
    run_s=0.01,
    small_runs=60,
    full_runs=1000,
)


def _entry(name: str, title: str, world: str) -> Entry:
    claims = (
        at_most_mean("drift imagined per 10 000 stationary errors", "alarms", 0.2),
        Claim("90 % intervals, 1000 to 2000 errors after +20 %", ("held_again",), mean, 0.87, 0.93),
    )
    # A new launch may as well be an unlucky one: half of the shifts are noticed in the first, the others later.
    soon = () if world == "launches" else (at_least("+20 % noticed within 300 errors", "soon", 0.5),)
    run = functools.partial(notices, world=world)
    return Entry(name, title, run, (*claims, *soon), run_s=0.1, small_runs=60, full_runs=1000)


ENTRIES = (
    _entry("drift", "errors of a model, log noise 20 %", "steady"),
    _entry("drift-stalls", "errors of a model, 1 % of them stalls", "stalls"),
    _entry("drift-alike", "errors of a model, neighbours correlated by 0.5", "alike"),
    _entry("drift-launches", "errors of one method, launches that differ by 5 %", "launches"),
    _entry("drift-running", "the same, the shift amid a launch", "running"),
    _ONE_MOVES,
)
