"""What is claimed of a statistic, and how runs are held against it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from perfkit.workflows.scoreboard.result import RATIO, SHARE, Figure

__all__ = [
    "FULL_RUNS",
    "Claim",
    "Entry",
    "Measured",
    "Run",
    "at_least",
    "at_most_mean",
    "largest",
    "mean",
    "observed",
    "paired_gain",
    "share",
    "within",
]

Floats = npt.NDArray[np.float64]
Run = Callable[[int], Mapping[str, npt.ArrayLike]]
"""One simulated run from its seed: figures by name; several per name where a run looks at several things."""

_CONFIDENCE = 0.95
FULL_RUNS = 10_000
"""Runs that put a true 5 % inside 4 to 6 % always; with 200 it is inside 58 % of the time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A value with its 95 % interval and the runs that it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What must be true of what the runs of an entry say.

    Args:
        what: name of the figure, for people.
        columns: what a run says that this is about.
        measure: makes a value with interval of these columns, one element per run, NaN where a run says nothing.
        low: target's lower bound.
        high: target's upper bound.
        unit: of the value.
    """

    what: str
    columns: tuple[str, ...]
    measure: Callable[..., Measured]
    low: float = -math.inf
    high: float = math.inf
    unit: str = SHARE

    def figure(self, entry: str, runs: Mapping[str, Floats]) -> Figure:
        """Hold the runs against the target."""
        found = self.measure(*(runs[name] for name in self.columns))
        return Figure(entry, self.what, found.value, found.low, found.high, found.n, self.low, self.high, self.unit)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One world, what is asked of it in a run, and what is claimed.

    Args:
        name: short name.
        title: what is simulated, for people.
        run: one simulated run from its seed; says the same figures each time. It must be importable.
        claims: what must be true of many runs.
        run_s: what a run takes, roughly: to size pieces of work, and to tell how long all takes.
        small_runs: how many there are, unless told otherwise; 0 leaves the entry out.
        full_runs: how many there must be for a rate to be claimed.
        is_measurement: whether it measures time or memory, so that nothing else may run beside it.
    """

    name: str
    title: str
    run: Run
    claims: tuple[Claim, ...]
    run_s: float
    small_runs: int
    full_runs: int = FULL_RUNS
    is_measurement: bool = False


def share(happened: Floats) -> Measured:
    """Share of the runs in which something happened, with Wilson's interval.

    >>> found = share(np.array([1.0, 0.0, 0.0, 0.0, np.nan]))
    >>> found.n, found.value, round(found.low, 3), round(found.high, 3)
    (4, 0.25, 0.046, 0.699)
    """
    known = happened[np.isfinite(happened)]
    if not known.size:
        return Measured(math.nan, 0.0, 1.0, 0)
    interval = stats.binomtest(int(known.sum()), known.size).proportion_ci(_CONFIDENCE, method="wilson")
    return Measured(float(known.mean()), float(interval.low), float(interval.high), known.size)


def paired_gain(ours: Floats, theirs: Floats) -> Measured:
    """How much more often something happened to one of two that saw the same data.

    Source: Agresti and Min, *Simple improved confidence intervals for comparing matched proportions*, Statistics in
    Medicine 24 (2005).

    >>> found = paired_gain(np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]))
    >>> found.value, found.low < 0 < found.high
    (0.25, True)
    """
    known = np.isfinite(ours) & np.isfinite(theirs)
    difference = ours[known] - theirs[known]
    n = difference.size
    if not n:
        return Measured(math.nan, -1.0, 1.0, 0)
    centre = float(difference.sum()) / (n + 2)  # half a run more in each of the four cells
    squared = (float(np.abs(difference).sum()) + 1) / (n + 2) - centre**2
    reach = float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) * math.sqrt(squared / (n + 2))
    return Measured(float(difference.mean()), centre - reach, centre + reach, n)


def mean(values: Floats) -> Measured:
    """Mean over runs with Student's interval.

    >>> found = mean(np.array([1.0, 2.0, 3.0]))
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    known = values[np.isfinite(values)]
    if known.size < 2:
        return Measured(float(known.mean()) if known.size else math.nan, -math.inf, math.inf, known.size)
    error = float(known.std(ddof=1)) / math.sqrt(known.size)
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, known.size - 1)) * error
    return Measured(float(known.mean()), float(known.mean()) - reach, float(known.mean()) + reach, known.size)


def largest(values: Floats) -> Measured:
    """The largest of a few measurements: no interval.

    >>> largest(np.array([1.0, 3.0, 2.0])).value
    3.0
    """
    worst = float(values.max())
    return Measured(worst, worst, worst, values.size)


def observed(happened: Floats) -> Measured:
    """Share of a few cases that are all there are: no interval.

    >>> observed(np.array([1.0, 0.0])).value
    0.5
    """
    value = float(happened.mean()) if happened.size else math.nan
    return Measured(value, value, value, happened.size)


def within(what: str, column: str, low: float, high: float) -> Claim:
    """That a share of runs lies between two bounds, or not above `high` where `low` is 0."""
    return Claim(what, (column,), share, low if low else -math.inf, high)


def at_least(what: str, column: str, low: float) -> Claim:
    """That a share of runs is not below a bound."""
    return Claim(what, (column,), share, low)


def at_most_mean(what: str, column: str, high: float) -> Claim:
    """That a mean ratio is not above a bound."""
    return Claim(what, (column,), mean, high=high, unit=RATIO)
