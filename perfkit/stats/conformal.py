"""Prediction intervals from past errors: as many misses as promised, whatever the errors look like.

A model says a median and a spread; what it says wrong, divided by the spread, is its standardised error. The ranks of
past errors bound the next one. Each tail is calibrated apart, because latencies miss upwards further than downwards.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from perfkit.errors import InputError

__all__ = ["WINDOW", "Adaptive", "Calibration", "calibrate", "expected_errors", "follow", "start_adaptive"]

Floats = npt.NDArray[np.float64]

WINDOW = 1000
"""Newest errors that adaptive intervals are taken from."""
_GAMMA = 0.02
_LOWEST_MISS, _HIGHEST_MISS = -0.05, 0.5
_ROUNDING = 1e-9
_SEED = 8
_MEMORY, _PRIOR, _CLIP = 0.97, 10.0, 3.0
"""Of 33 newest errors in the mean, against ten that would be 0; a stall counts as an error of three spreads."""


@dataclass(frozen=True)
class Calibration:
    """What past errors say about the next one.

    Attributes:
        errors: standardised errors (observed - predicted) / scale, sorted.
        level: share of errors that the bounds are to hold, above 0 and below 1.
    """

    errors: Floats
    level: float = 0.90

    def bounds(self) -> tuple[float, float]:
        """Bounds of the next error; each is missed with a probability of at most (1 - level) / 2.

        Returns:
            Lowest and highest; -inf and inf where the errors are too few (19 are enough for a level of 0.90).
        """
        miss = (1 - self.level) / 2
        size = self.errors.size
        rank = _rank(miss, size)
        if rank < 1:
            return -np.inf, np.inf
        return float(self.errors[rank - 1]), float(self.errors[size - rank])


def calibrate(errors: npt.ArrayLike, level: float = 0.90) -> Calibration:
    """Calibrate intervals on errors that the model was not trained on.

    Args:
        errors: standardised errors (observed - predicted) / scale, in any order, finite.
        level: share of the next errors that the bounds are to hold, above 0 and below 1.

    Raises:
        InputError: an error is not finite, or the level is out of range.

    Source: Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World* (2005); Romano, Patterson and Candès,
        *Conformalized Quantile Regression*, NeurIPS (2019), for tails apart.

    >>> calibrate(range(1, 100), level=0.90).bounds()
    (5.0, 95.0)
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"level == {level!r}, must be above 0 and below 1, for example 0.90")
    return Calibration(np.sort(_checked(errors)), float(level))


@dataclass(frozen=True)
class Adaptive:
    """Calibration that follows what happens: the newest errors, and how far each tail has to give way.

    Attributes:
        window: newest standardised errors, at most 1000, oldest first.
        miss_low, miss_high: rates of misses now aimed at, so that the rates in the long run are (1 - level) / 2. At 0
            and below, after many misses in a row, the widest bounds of the window apply.
        gamma: by how much a miss moves the rate of its tail.
        level: share of errors that the bounds are to hold.
        seen: errors followed so far.
    """

    window: Floats = field(repr=False)
    miss_low: float
    miss_high: float
    gamma: float = _GAMMA
    level: float = 0.90
    seen: int = 0


def start_adaptive(calibration: Calibration) -> Adaptive:
    """Begin to follow errors from a calibration.

    More than 1000 calibration errors are thinned to 1000 quantiles.

    >>> start_adaptive(calibrate(range(5000))).window.size
    1000
    """
    errors, miss = calibration.errors, (1 - calibration.level) / 2
    if errors.size > WINDOW:
        errors = np.quantile(errors, (np.arange(WINDOW) + 0.5) / WINDOW)
    # The errors come sorted. Left so, the oldest would be the lowest, and the lower tail would leave the window first.
    shuffled = np.random.default_rng(_SEED).permutation(errors)
    return Adaptive(shuffled, miss, miss, level=calibration.level)


def follow(adaptive: Adaptive, errors: npt.ArrayLike) -> tuple[Adaptive, Floats, Floats]:
    """Judge errors one after the other, each by what was known before it, and learn from it.

    Args:
        adaptive: where the last call ended, or `start_adaptive`.
        errors: standardised errors in order of time, finite.

    Returns:
        The state afterwards, and the lowest and the highest error that was expected at each place; -inf and inf while
        the window is too short.

    Raises:
        InputError: an error is not finite.

    Source: Gibbs and Candès, *Adaptive Conformal Inference Under Distribution Shift*, NeurIPS (2021), per tail.

    >>> rng = np.random.default_rng(1)
    >>> start = start_adaptive(calibrate(rng.normal(0, 1, 5000)))
    >>> shifted = rng.normal(0.9, 1, 4000)
    >>> _, low, high = follow(start, shifted)
    >>> round(float(np.mean((low <= shifted) & (shifted <= high))), 2)
    0.9
    """
    values = _checked(errors)
    tail, gamma = (1 - adaptive.level) / 2, adaptive.gamma
    miss_low, miss_high = adaptive.miss_low, adaptive.miss_high
    window = deque(adaptive.window.tolist())
    ranked = sorted(window)
    low, high = np.full(values.size, -np.inf), np.full(values.size, np.inf)
    for at, error in enumerate(values.tolist()):
        size = len(ranked)
        if _rank(tail, size) >= 1:
            lowest = ranked[max(_rank(miss_low, size), 1) - 1]
            highest = ranked[size - max(_rank(miss_high, size), 1)]
            low[at], high[at] = lowest, highest
            miss_low = _moved(miss_low, gamma * (tail - (error < lowest)))
            miss_high = _moved(miss_high, gamma * (tail - (error > highest)))
        window.append(error)
        if len(window) > WINDOW:
            del ranked[bisect_left(ranked, window.popleft())]
        insort(ranked, error)
    after = Adaptive(np.array(window, float), miss_low, miss_high, gamma, adaptive.level, adaptive.seen + values.size)
    return after, low, high


def expected_errors(errors: npt.ArrayLike, streams: npt.ArrayLike) -> Floats:
    """What the newest errors of its own stream say about each error, from those before it alone.

    `follow` widens the intervals of all streams when one of them shifts, and too little for that one. Errors less what
    is expected of them are alike again: follow those, and add what was expected to the bounds.

    Args:
        errors: standardised errors in order of time, finite.
        streams: name of each error's stream, such as its method.

    Returns:
        An exponentially weighted mean of earlier clipped errors per stream, drawn towards 0 where they are few.

    Raises:
        InputError: an error is not finite, or the columns differ in length.

    >>> expected_errors([1.0, 1.0, 1.0, -2.0], ["uds", "grpc", "uds", "grpc"]).round(3).tolist()
    [0.0, 0.0, 0.091, 0.091]
    """
    values, names = _checked(errors), np.asarray(streams)
    if names.shape != values.shape:
        raise InputError(f"streams has shape {names.shape}, must have one name for each of the {values.size} errors")
    expected = np.zeros(values.size)
    position = np.unique(names, return_inverse=True)[1]
    for stream in range(int(position.max(initial=-1)) + 1):
        mine = np.flatnonzero(position == stream)
        clipped = np.clip(values[mine], -_CLIP, _CLIP)
        total, count = (lfilter([0, 1], [1, -_MEMORY], one) for one in (clipped, np.ones(mine.size)))
        expected[mine] = total / (count + _PRIOR)
    return expected


def _rank(miss: float, size: int) -> int:
    """How far from its end of the sorted errors a bound lies; 0 when so few errors give none."""
    return int((size + 1) * miss + _ROUNDING) if miss > 0 else 0


def _moved(miss: float, step: float) -> float:
    return min(max(miss + step, _LOWEST_MISS), _HIGHEST_MISS)


def _checked(errors: npt.ArrayLike) -> Floats:
    try:
        values = np.asarray(errors, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"errors must be a column of finite numbers, got {type(errors).__name__}") from error
    if values.ndim != 1:
        raise InputError(f"errors must be one column of numbers, got an array with {values.ndim} dimensions")
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise InputError(f"errors[{wrong[0]}] == {values[wrong[0]]}, must be finite; leave such rows out")
    return values
