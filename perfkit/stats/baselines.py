"""What to expect of the next measurement of a series, and how far the newest ones are from it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from perfkit.errors import InputError

__all__ = ["FEWEST", "WINDOW", "ExpectedRange", "Newest", "expected_range", "judge_newest"]

Floats = npt.NDArray[np.float64]

FEWEST = 4
"""Points that a range is made of at least: of fewer, the spread is anybody's guess."""
WINDOW = 20
"""Newest points that a range is made of: it moves with a slow trend, and a fifth of them may be odd."""
_MOST_TRAILING = FEWEST


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectedRange:
    """Where the next point of a series lies if nothing changes.

    Args:
        level: geometric mean of the points, above 0.
        spread: standard deviation of their logarithms, with n - 1 degrees of freedom.
        n: points.
        confidence: chance that the next point is between `low` and `high`.
    """

    level: float
    spread: float
    n: int
    confidence: float = 0.95

    @property
    def low(self) -> float:
        """Smallest value to expect."""
        return self.level * math.exp(-self._half_width())

    @property
    def high(self) -> float:
        """Largest value to expect."""
        return self.level * math.exp(self._half_width())

    def p_value(self, value: float) -> float:
        """Probability of a next point at least this far from the level, in either direction, if nothing changed.

        >>> ExpectedRange(100.0, 0.05, 10).p_value(130.0) < 0.001
        True
        """
        distance = abs(math.log(value / self.level))
        if self.spread == 0:
            return 1.0 if distance < 1e-12 else 0.0
        return float(2 * student.sf(distance / self._error(), self.n - 1))

    def _half_width(self) -> float:
        return float(student.isf((1 - self.confidence) / 2, self.n - 1)) * self._error()

    def _error(self) -> float:
        return self.spread * math.sqrt(1 + 1 / self.n)


@dataclasses.dataclass(frozen=True, slots=True)
class Newest:
    """The newest point of a series beside what was expected of it.

    Args:
        value: the newest point.
        expected: the range; without the newest points where these are all off to the same side.
        relative: value / expected.level - 1.
        p_value: probability of a point this far off if nothing changed, allowing for how many points are off.
        points: how many of the newest points are off by more than the tolerance to the same side; 0 to 4.
    """

    value: float
    expected: ExpectedRange
    relative: float
    p_value: float
    points: int


def expected_range(values: npt.ArrayLike, confidence: float = 0.95) -> ExpectedRange | None:
    """Where the next point of a series lies if nothing changes.

    A prediction interval on the logarithms of the newest `WINDOW` points, by Student's distribution.

    Args:
        values: the points since the last change of level, in order of time, above 0.
        confidence: between 0 and 1.

    Returns:
        The range; None for fewer than `FEWEST` points.

    Raises:
        InputError: a value is not above 0 or not finite, or the confidence is out of range.

    Source: Hahn and Meeker, *Statistical intervals* (1991), section 4.7.

    >>> found = expected_range([100.0, 104.0, 98.0, 101.0, 97.0, 100.0])
    >>> round(found.low, 1), round(found.level, 1), round(found.high, 1)
    (93.4, 100.0, 107.0)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence == {confidence}, must be between 0 and 1")
    logs = _logs(values)[-WINDOW:]
    if logs.size < FEWEST:
        return None
    spread = 0.0 if np.ptp(logs) == 0 else float(logs.std(ddof=1))
    return ExpectedRange(math.exp(float(logs.mean())), spread, logs.size, confidence)


def judge_newest(values: npt.ArrayLike, tolerance: float = 0.2, expected: ExpectedRange | None = None) -> Newest | None:
    """Compare the newest point with what was expected of it.

    After a change the newest points are all off to the same side, and too few to be a level of their own; a range that
    they were part of would be wide enough for them. So those that are off by more than the tolerance are taken out of
    it, up to 4, and the p-value is multiplied by their number.

    Args:
        values: the points since the last change of level, in order of time, above 0; the newest is judged.
        tolerance: relative deviation that does not matter, above 0.
        expected: a range that was fixed earlier; None takes one from the points before.

    Returns:
        The newest point; None where there are too few before it.

    Raises:
        InputError: a value is not above 0 or not finite, or the tolerance is out of range.

    >>> judge_newest([100.0, 104.0, 98.0, 101.0, 97.0, 100.0, 130.0]).points
    1
    """
    if not 0 < tolerance < math.inf:
        raise InputError(f"tolerance == {tolerance}, must be above 0")
    logs = _logs(values)[-WINDOW - _MOST_TRAILING :]
    if logs.size == 0:
        return None
    level = math.log(expected.level) if expected else float(np.median(logs))
    trailing = _trailing(np.expm1(logs - level), tolerance)
    if expected is None:
        expected = expected_range(np.exp(logs[: logs.size - max(trailing, 1)]))
    if expected is None:
        return None
    value = float(np.asarray(values)[-1])
    p_value = min(1.0, expected.p_value(value) * max(trailing, 1))
    return Newest(value, expected, value / expected.level - 1, p_value, trailing)


def _trailing(relative: Floats, tolerance: float) -> int:
    """How many of the newest deviations exceed the tolerance to the side of the last one."""
    is_off = (np.abs(relative) > tolerance) & (np.sign(relative) == np.sign(relative[-1]))
    return int(np.argmin(is_off[::-1])) if not is_off[-_MOST_TRAILING:].all() else min(_MOST_TRAILING, is_off.size)


def _logs(values: npt.ArrayLike) -> Floats:
    given = np.asarray(values, float)
    if given.ndim != 1 or not np.isfinite(given).all() or (given <= 0).any():
        raise InputError("the points of a series must be finite and above 0: durations, sizes or rates")
    return np.asarray(np.log(given), float)
