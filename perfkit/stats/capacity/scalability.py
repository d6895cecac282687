"""How throughput grows with concurrency: the Universal Scalability Law, with intervals, near to what was measured.

X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)): gamma is the throughput of one, alpha the share that waits in a
queue (contention), beta what everybody pays for everybody else (coherency).
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.capacity.demand_result import figure
from perfkit.stats.capacity.ladder_noise import LadderNoise, ladder_noise
from perfkit.stats.capacity.law import Floats, fit_freely, fit_lawfully, highest_throughput, parameters, predict
from perfkit.tables import ResultTable, plural

__all__ = ["EXTRAPOLATION_LIMIT", "Bounded", "Scalability", "scalability"]

EXTRAPOLATION_LIMIT = 1.3
"""No answer beyond this many times the largest measured concurrency: fitted to N <= 72, the law misses 216 by 40 %."""

_LEVELS_NEEDED = 4
_MISSED = 0.10
_DUST = 1e-9
_PARAMETERS = ("gamma", "alpha", "beta", "peak_concurrency")
_MEANINGS = {
    "gamma": "throughput of one",
    "alpha": "contention: share that queues",
    "beta": "coherency: cost of each pair",
    "peak_concurrency": "concurrency of the highest throughput",
    "peak_throughput": "highest throughput",
}
_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class Bounded:
    """A value with the bounds of its interval.

    >>> f"{Bounded(2.0, 1.5, 2.6)}", float(Bounded(2.0, 1.5, 2.6))
    ('2 (1.5 to 2.6)', 2.0)
    """

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return "{} ({} to {})".format(*map(_text, (self.value, self.low, self.high)))


@dataclasses.dataclass(frozen=True)
class Scalability:
    """The law fitted to a ladder.

    Args:
        gamma: throughput of a single one, in the unit of the throughput that was given.
        alpha: contention, at least 0.
        beta: coherency, at least 0.
        peak_concurrency: sqrt((1 - alpha) / beta), at least 1; infinite where beta is 0.
        peak_throughput: throughput there; where the peak is infinite, what throughput tends to.
        n: measurements.
        measured: the distinct concurrencies that were measured, ascending.
        throughput: mean throughput of each.
        level: of the intervals.
        method: how fit and intervals came about.
        warnings: what makes the fit hard to trust.
        theta: the fit, as `perfkit.stats.capacity.law` writes it.
        draws: fits to simulated ladders, (draws, 3), as `perfkit.stats.capacity.law` writes them.
    """

    gamma: Bounded
    alpha: Bounded
    beta: Bounded
    peak_concurrency: Bounded
    peak_throughput: Bounded
    n: int
    measured: tuple[float, ...]
    throughput: tuple[float, ...]
    level: float
    method: str
    warnings: tuple[str, ...]
    theta: Floats = dataclasses.field(repr=False, compare=False)
    draws: Floats = dataclasses.field(repr=False, compare=False)

    @property
    def largest_allowed(self) -> float:
        """The largest concurrency that `at` answers for."""
        return EXTRAPOLATION_LIMIT * self.measured[-1]

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Low and high of every parameter, by name."""
        named = {name: getattr(self, name) for name in (*_PARAMETERS, "peak_throughput")}
        return {name: (one.low, one.high) for name, one in named.items()}

    def at(self, concurrency: float) -> Bounded:
        """Throughput at a concurrency, with the interval of the law (not of a single measurement).

        Raises:
            InputError: the concurrency is not above 0, or beyond `EXTRAPOLATION_LIMIT` times what was measured.
        """
        asked = self._checked(concurrency)
        value = float(predict(self.theta[None, :], asked)[0, 0])
        return _bounded(value, predict(self.draws, asked)[:, 0], self.level)

    def efficiency(self, concurrency: float) -> Bounded:
        """Throughput at a concurrency as a share of what perfect scaling would give, gamma N; as `at`."""
        asked = self._checked(concurrency)
        shares = predict(self.draws, asked)[:, 0] * self.draws[:, 0] / asked[0]
        value = float(predict(self.theta[None, :], asked)[0, 0] * self.theta[0] / asked[0])
        return _bounded(value, shares, self.level)

    def _checked(self, concurrency: float) -> Floats:
        try:
            asked = float(concurrency)
        except (TypeError, ValueError):
            raise InputError(f"concurrency == {concurrency!r}, must be a number above 0") from None
        if not (math.isfinite(asked) and asked > 0):
            raise InputError(f"concurrency == {concurrency}, must be finite and above 0")
        if asked > self.largest_allowed:
            raise InputError(
                f"concurrency == {asked:g} is beyond {EXTRAPOLATION_LIMIT} times the largest that was measured, "
                f"{self.measured[-1]:g}: the law is no guide there; ask for at most {self.largest_allowed:g}, or "
                f"measure further with perfkit bench --ladder --concurrency …,{math.ceil(asked):d}"
            )
        return np.array([asked])

    def to_table(self) -> ResultTable:
        """The parameters with their intervals."""
        rows = tuple(
            (name.replace("_", " "), *_cells(getattr(self, name)), meaning) for name, meaning in _MEANINGS.items()
        )
        levels = plural(len(self.measured), "concurrency", ["concurrencies"])
        span = f"{self.measured[0]:g} to {self.measured[-1]:g}"
        notes = (
            f"n = {self.n} at {levels} from {span}; {self.method}.",
            *(f"! {warning}" for warning in self.warnings),
        )
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        columns = ("parameter", "value", f"{self.level:.0%} interval", "meaning")
        return ResultTable("Universal Scalability Law", columns, rows, wrapped, align_right=(1, 2))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; what is infinite stays so, and `--json` writes it as null."""
        return {
            **{name: getattr(self, name).value for name in (*_PARAMETERS, "peak_throughput")},
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "level": self.level,
            "n": self.n,
            "measured": [
                {"concurrency": one, "throughput": other}
                for one, other in zip(self.measured, self.throughput, strict=True)
            ],
            "largest_allowed": self.largest_allowed,
            "method": self.method,
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def scalability(
    concurrency: npt.ArrayLike,
    throughput: npt.ArrayLike,
    *,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> Scalability:
    """Fit the Universal Scalability Law to a measured ladder.

    The fit minimises the *absolute* errors of throughput, as Gunther and the R package usl do: on his SPEC SDM91 data
    that gives his parameters; relative errors would let the level of one user decide and give gamma 68 instead of 90.

    Args:
        concurrency: how many were under way at once, above 0; at least 4 different values; in any order, and a value
            may come several times (independent measurements of it, such as launches).
        throughput: what was done per unit of time at each, above 0, in any unit.
        seed: of the simulated ladders.
        draws: how many ladders are simulated for the intervals, at least 100.
        level: of the intervals, between 0 and 1.

    Returns:
        The parameters with intervals. These come from ladders simulated around the fit and fitted again: noise as large
        as between the measurements of one level, or, where each level was measured once or the law misses the levels
        by surely more than that, as large as around the law; its scale is drawn anew each time (Student instead of
        normal), and its shape, the same everywhere or in proportion to throughput, as likely as the data make it. A
        bootstrap of so few residuals would be too narrow. The simulated fits may be negative, so that an alpha or beta
        of 0 is not excluded by where its bound lies.

    Raises:
        InputError: fewer than 4 different concurrencies; values that are missing, infinite or not above 0.

    Sources: Gunther, *Guerrilla Capacity Planning*, 2007, chapters 4 to 6; Davison and Hinkley, *Bootstrap Methods and
    their Application*, 1997, sections 5.2 and 6.2.

    >>> users = [1, 18, 36, 72, 108, 144, 216]
    >>> law = scalability(users, [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    >>> [f"{float(one):.3g}" for one in (law.gamma, law.alpha, law.beta)], round(float(law.peak_concurrency), 1)
    (['90', '0.0277', '0.000104'], 96.5)
    """
    every, values = _checked_ladder(concurrency, throughput, draws, level)
    levels, at_level, counts = np.unique(every, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64)
    means = np.bincount(at_level, values) / weights
    unit = float(means.max())  # fitted in shares of the highest: whatever the unit, the numbers are of a size
    theta = _without_dust(fit_lawfully(levels, means[None, :] / unit, weights)[0], levels)
    free = fit_freely(levels, means[None, :] / unit, weights)[0]
    noise = ladder_noise(levels, at_level, counts, values / unit, means / unit, free)
    simulated = noise.simulate(draws, np.random.default_rng(seed))
    drawn = fit_freely(levels, simulated, weights)
    theta, drawn = theta / unit, _without_dust(drawn, levels) / unit
    named = {
        name: _bounded(float(ours[0]), np.maximum(others, 0.0), level)
        for (name, ours), others in zip(parameters(theta[None, :]).items(), parameters(drawn).values(), strict=True)
    }
    highest = _bounded(float(highest_throughput(theta[None, :])[0]), highest_throughput(drawn), level)
    warnings = _warnings(levels, means, theta, drawn, named, noise, level)
    return Scalability(
        **named,
        peak_throughput=highest,
        n=len(values),
        measured=tuple(float(one) for one in levels),
        throughput=tuple(float(one) for one in means),
        level=level,
        method=f"least squares of absolute errors, {draws} simulated ladders, {noise.origin}",
        warnings=warnings,
        theta=theta,
        draws=drawn,
    )


def _bounded(value: float, draws: Floats, level: float) -> Bounded:
    """A value with the interval of its draws, which always holds the value itself."""
    ordered = np.sort(draws)
    tail = (1 - level) / 2
    low = float(ordered[math.floor(tail * (len(ordered) - 1))])
    high = float(ordered[math.ceil((1 - tail) * (len(ordered) - 1))])
    return Bounded(value, min(low, value), max(high, value))


def _without_dust(theta: Floats, levels: Floats) -> Floats:
    """A coefficient that changes nothing within what was measured is 0, not the rounding error of the fit.

    Otherwise the bound of a peak would be made of it: of exact data without one, a concurrency of 7e7.
    """
    largest = levels[-1] ** np.arange(3)
    return np.where(np.abs(theta) * largest > _DUST * np.abs(theta[..., :1]), theta, 0.0)


def _warnings(
    levels: Floats,
    means: Floats,
    theta: Floats,
    drawn: Floats,
    named: Mapping[str, Bounded],
    noise: LadderNoise,
    level: float,
) -> tuple[str, ...]:
    said = []
    largest, peak = float(levels[-1]), named["peak_concurrency"]
    per_one = means / levels
    is_surely_below = float(np.quantile(parameters(drawn)["alpha"], (1 + level) / 2)) < 0
    if is_surely_below or per_one.max() > (1 + _MISSED) * per_one[0]:
        said.append(
            "throughput grows faster than concurrency (superlinear): the law has no room for it; look for a cache that "
            "warms up or a level that was measured cold"
        )
    off = np.abs(predict(theta[None, :], levels)[0] - means) / means.max()
    if off.max() > _MISSED or noise.is_missed:
        worst = int(off.argmax())
        fitted = float(predict(theta[None, :], levels)[0][worst])
        said.append(
            f"the law fits poorly: at concurrency {levels[worst]:g} it says {figure(fitted)}, measured was "
            f"{figure(means[worst])}; rely on what was measured"
        )
    if math.isinf(peak.value):
        said.append("no peak: beta is 0, so that throughput only levels off as far as these data show")
    elif peak.value > largest:
        said.append(
            f"the peak at {peak.value:.4g} lies beyond what was measured ({largest:g}): it is an extrapolation; "
            f"measure up to it"
        )
    return tuple(said)


def _text(value: float) -> str:
    return "infinite" if math.isinf(value) else figure(value)


def _cells(one: Bounded) -> tuple[str, str]:
    return _text(one.value), f"{_text(one.low)} to {_text(one.high)}"


def _checked_ladder(
    concurrency: npt.ArrayLike, throughput: npt.ArrayLike, draws: int, level: float
) -> tuple[Floats, Floats]:
    columns = {"concurrency": _column("concurrency", concurrency), "throughput": _column("throughput", throughput)}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"concurrency has {lengths['concurrency']} values, throughput {lengths['throughput']}")
    for name, values in columns.items():
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            raise InputError(f"{name}[{wrong[0]}] == {values[wrong[0]]:g}, must be finite and above 0; leave it out")
    distinct = len(np.unique(columns["concurrency"]))
    if distinct < _LEVELS_NEEDED:
        raise InputError(
            f"{plural(distinct, 'different concurrency', ['different concurrencies'])}, must be at least "
            f"{_LEVELS_NEEDED}: the law has three parameters; measure more with perfkit bench --ladder"
        )
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 100:
        raise InputError(f"draws == {draws!r}, must be a whole number of at least 100")
    if not 0 < level < 1:
        raise InputError(f"level == {level}, must be between 0 and 1, for example 0.95")
    return columns["concurrency"], columns["throughput"]


def _column(name: str, values: npt.ArrayLike) -> Floats:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} holds something that is not a number; give numbers above 0") from None
    if column.ndim != 1:
        raise InputError(f"{name} has the shape {column.shape}, must be one list of numbers")
    return column
