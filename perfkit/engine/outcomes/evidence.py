"""How one method compares with another by what transfers took: blocks of outcomes, and what they say together.

Outcomes close in time resemble each other (a busy second makes all of them slow), so they are summed up in *blocks*
that last a second or longer, and the uncertainty is judged by how much blocks differ, not by the number of outcomes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections import deque
from collections.abc import Sequence

__all__ = ["BLOCKS_KEPT", "BLOCKS_NEEDED", "Blocks", "Level", "trimmed_level"]

BLOCKS_KEPT = 48
BLOCKS_NEEDED = 16
_BLOCK_NS = 10**9
_VALUES_KEPT = 64
_TRIMMED = 0.2
_RECENT = 8
_CHANGE_ERRORS = 6.0
_SMALLEST_CHANGE = math.log(1.1)


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """The level of some values: trimmed mean, its standard error, and how many values there were."""

    value: float
    error: float
    n: int


class Blocks:
    """Values in blocks of at least so many values and at least a second; the last 48 blocks are kept.

    Args:
        block_outcomes: fewest values of a block.
        now_ns: monotonic nanoseconds.
    """

    __slots__ = ("_begun_ns", "_block_outcomes", "_seen", "_values", "closed_ns", "counts", "learns_anew", "medians")

    def __init__(self, block_outcomes: int, now_ns: int = 0) -> None:
        self._block_outcomes = block_outcomes
        self._values: list[float] = []
        self._seen = 0
        self._begun_ns = 0
        self.closed_ns = now_ns
        self.learns_anew = False
        self.medians: deque[float] = deque(maxlen=BLOCKS_KEPT)
        self.counts: deque[int] = deque(maxlen=BLOCKS_KEPT)

    def add(self, values: Sequence[float], now_ns: int) -> bool:
        """Add values that came in together.

        Returns:
            Whether a block was closed, so that the level has changed.
        """
        if not self._values:
            self._begun_ns = now_ns
        self._seen += len(values)
        self._values.extend(values)
        if len(self._values) > _VALUES_KEPT:  # evenly, so that the whole block counts
            step = len(self._values) / _VALUES_KEPT
            self._values = [self._values[int(index * step)] for index in range(_VALUES_KEPT)]
        if self._seen < self._block_outcomes or now_ns - self._begun_ns < _BLOCK_NS:
            return False
        self.medians.append(statistics.median(self._values))
        self.counts.append(self._seen)
        self.closed_ns = now_ns
        self._values, self._seen = [], 0
        self._forget_what_no_longer_holds()
        if len(self.medians) >= BLOCKS_NEEDED:
            self.learns_anew = False
        return True

    def level(self) -> Level | None:
        """What the blocks say together; None before there are 16."""
        if len(self.medians) < BLOCKS_NEEDED:
            return None
        value, error = trimmed_level(list(self.medians))
        return Level(value, error * _inflation(list(self.medians)), sum(self.counts))

    def _forget_what_no_longer_holds(self) -> None:
        """Where the last few blocks agree that things have changed, the blocks before are of another time.

        The last few are dropped, too: they were looked at because they are extreme, so they would overstate the change.
        """
        if len(self.medians) < 2 * _RECENT:
            return
        values = list(self.medians)
        before, recent = values[:-_RECENT], values[-_RECENT:]
        shift = statistics.fmean(recent) - statistics.fmean(before)
        spread = math.sqrt(_variance(recent) / len(recent) + _variance(before) / len(before))
        if abs(shift) > max(_CHANGE_ERRORS * spread * _inflation(before), _SMALLEST_CHANGE):
            self.medians.clear()
            self.counts.clear()
            self.learns_anew = True


def trimmed_level(values: Sequence[float]) -> tuple[float, float]:
    """The mean without the fifth at either end, and its standard error by the winsorised variance.

    Args:
        values: at least 5.

    Source: Wilcox, *Introduction to Robust Estimation and Hypothesis Testing*, 4th edition, section 3.3 (Tukey and
    McLaughlin, 1963).

    >>> trimmed_level([1, 2, 3, 4, 1000])[0]
    3.0
    """
    ordered = sorted(values)
    n, cut = len(ordered), int(_TRIMMED * len(ordered))
    kept = ordered[cut : n - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    return statistics.fmean(kept), math.sqrt(_variance(winsorised) / n) / (1 - 2 * _TRIMMED)


def _variance(values: Sequence[float]) -> float:
    """As `statistics.variance`, which works with fractions and takes twenty times as long."""
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _inflation(values: Sequence[float]) -> float:
    """By what the standard error grows because neighbouring blocks resemble each other (first-order correlation)."""
    mean = statistics.fmean(values)
    deviations = [value - mean for value in values]
    variance = math.fsum(d * d for d in deviations)
    if variance <= 0:
        return 1.0
    product = math.fsum(a * b for a, b in itertools.pairwise(deviations))
    correlation = min(max(product / variance, 0.0), 0.8)
    return math.sqrt((1 + correlation) / (1 - correlation))
