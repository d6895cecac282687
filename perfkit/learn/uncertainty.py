"""How far a fitted curve may be off: a bootstrap over launches and rounds that is honest about few launches.

Rounds are resampled within their launch and carried through the fit to first order. What launches add to that is
measured by how much the curve of each launch differs from the mean: with three launches a percentile interval would be
far too narrow, so the variance is the unbiased one (``launches - 1``), drawn towards the mean of comparable curves as
if that were worth `_PRIOR_LAUNCHES` further launches, and intervals use Student's t.

Sources: Davison and Hinkley, *Bootstrap Methods and their Application* (1997), section 3.8, on resampling in two
levels; Smyth, *Linear models and empirical Bayes methods* (2004), on drawing variances of few replicates together.

Where evidence is thin, these rules widen the interval:

* one launch: launches are taken to differ by 10 % (one standard deviation);
* one round: a median of one round is taken to be off by 20 %;
* outside the measured sizes: 10 % more for each doubling of the distance;
* medians that the curve misses by more than their noise: the miss is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from perfkit.config.curves import IntervalPoint
from perfkit.learn.cells import Cells
from perfkit.learn.pieces import PieceFit
from perfkit.stats.medians import smooth_median

__all__ = ["Noise", "Spread", "curve_spread", "intervals", "measure_noise"]

Floats = npt.NDArray[np.float64]

_DRAWS = 200
_SEED = 20_111
_PRIOR_LAUNCHES = 3.0
_ASSUMED_LAUNCH_SD = 0.10
_ASSUMED_ROUND_SD = 0.20
_EXTRAPOLATION_SD = 0.10
_OUTSIDE = np.array([4.0, 16.0, 64.0])  # times beyond the measured sizes


@dataclasses.dataclass(frozen=True)
class Noise:
    """Medians of one group and how they scatter.

    Args:
        log_medians: logarithm of the median at each size, over launches.
        by_launch: the same by launch and size; NaN where a launch lacks a size.
        draws: changes of `log_medians` when rounds are resampled, by draw and size.
        rounds: most rounds in any launch.
    """

    log_medians: Floats
    by_launch: Floats
    draws: Floats
    rounds: int

    @property
    def standard_deviations(self) -> Floats:
        """Noise of each log median that rounds explain."""
        return np.asarray(self.draws.std(axis=0))


@dataclasses.dataclass(frozen=True)
class Spread:
    """Variances of a log prediction at `points`, by cause.

    Args:
        points: sizes in bytes, ascending: the measured ones, some around the knees, some outside.
        log_costs: logarithm of the prediction, at each point.
        measured: whether a point was measured.
        rounds: variance from rounds, at each point.
        other: variance from misfit, unknown knees and extrapolation, at each point.
        launch: variance of one launch, estimated from this curve alone; may be negative; NaN for a single launch.
        launches: number of launches.
    """

    points: Floats
    log_costs: Floats
    measured: npt.NDArray[np.bool_]
    rounds: Floats
    other: Floats
    launch: float
    launches: int


def measure_noise(cells: Cells) -> Noise:
    """Reduce cells to medians by size, and resample their rounds."""
    by_launch = smooth_median(cells.log_medians, axis=1)
    log_medians = smooth_median(by_launch, axis=0)
    launches, rounds, _ = cells.log_medians.shape
    random = np.random.default_rng(_SEED)
    if rounds == 1:
        changes = random.normal(0.0, _ASSUMED_ROUND_SD / np.sqrt(launches), (_DRAWS, log_medians.size))
        return Noise(log_medians, by_launch, changes, rounds)
    picks = random.integers(0, rounds, (_DRAWS, launches, rounds))
    resampled = smooth_median(cells.log_medians[np.arange(launches)[:, None], picks], axis=2)
    resampled = np.where(np.isnan(resampled), by_launch, resampled)
    changes = smooth_median(resampled, axis=1) - log_medians
    return Noise(log_medians, by_launch, changes * np.sqrt(rounds / (rounds - 1)), rounds)


def curve_spread(fit: PieceFit, noise: Noise) -> Spread:
    """Variances of the curve's logarithm at the measured sizes, around its knees and outside."""
    points, doublings = _points(fit)
    reaction, knee_variance = fit.sensitivity(points)
    rounds = np.asarray((noise.draws @ reaction.T).var(axis=0))
    launches = noise.by_launch.shape[0]
    launch = np.nan
    if launches > 1:
        deviations = np.nan_to_num(noise.by_launch - np.nanmean(noise.by_launch, axis=0)) @ reaction.T
        between = (deviations**2).sum(axis=0) / (launches - 1)
        launch = float((between - rounds * launches)[doublings == 0].mean())
    excess = np.maximum(fit.residuals**2 - 2 * noise.standard_deviations**2, 0.0)
    nearest = np.argsort(np.abs(np.log(np.maximum(fit.sizes, 1.0)) - np.log(points)[:, None]), axis=1)[:, :3]
    other = excess[nearest].mean(axis=1) + knee_variance + (_EXTRAPOLATION_SD * doublings) ** 2
    measured = np.isin(points, np.maximum(fit.sizes, 1.0))
    return Spread(points, np.log(fit.at(points)), measured, rounds, other, launch, launches)


def intervals(spreads: Sequence[Spread]) -> list[tuple[IntervalPoint, ...]]:
    """95 % intervals of comparable curves, whose launch variances are drawn together.

    Args:
        spreads: curves of one quantity whose launches can be compared, one per method or codec.
    """
    known = [(spread.launch, spread.launches - 1) for spread in spreads if spread.launches > 1]
    degrees = sum(weight for _, weight in known)
    pooled = max(sum(v * w for v, w in known) / degrees, 0.0) if known else _ASSUMED_LAUNCH_SD**2
    return [_interval(spread, pooled, min(degrees, _PRIOR_LAUNCHES) or _PRIOR_LAUNCHES) for spread in spreads]


def _interval(spread: Spread, pooled: float, prior: float) -> tuple[IntervalPoint, ...]:
    own_degrees = spread.launches - 1
    own = max(spread.launch, 0.0) if own_degrees else 0.0
    launch_degrees = prior + own_degrees
    launch = (prior * pooled + own_degrees * own) / launch_degrees / spread.launches
    variance = launch + spread.rounds + spread.other
    # Welch and Satterthwaite: launches are known through few means, in which rounds are mixed; what is added by rule
    # counts as known.
    doubt = (launch + spread.rounds) ** 2 / launch_degrees
    degrees = np.maximum(variance**2 / np.maximum(doubt, 1e-300), 1.0)
    half_widths = student_t.ppf(0.975, degrees) * np.sqrt(variance)
    low, high = _within_neighbours(spread, spread.log_costs - half_widths, spread.log_costs + half_widths)
    factors = np.exp(low - spread.log_costs), np.exp(high - spread.log_costs)
    return tuple(IntervalPoint(*map(float, point)) for point in zip(spread.points, *factors, strict=True))


def _within_neighbours(spread: Spread, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Cost never falls with size: between two measured sizes it is bounded by the bounds at these."""
    sizes = spread.points[spread.measured]
    before = np.searchsorted(sizes, spread.points, side="right") - 1
    after = np.searchsorted(sizes, spread.points, side="left")
    lows, highs = low[spread.measured], high[spread.measured]
    return (
        np.where(before >= 0, np.maximum(low, lows[np.maximum(before, 0)]), low),
        np.where(after < sizes.size, np.minimum(high, highs[np.minimum(after, sizes.size - 1)]), high),
    )


def _points(fit: PieceFit) -> tuple[Floats, Floats]:
    """Sizes at which the interval is given, and how many doublings they lie outside the measured ones."""
    sizes = np.maximum(fit.sizes, 1.0)
    around_knees = [knee * factor for knee in fit.knees for factor in (0.7, 1.0, 1.4)]
    points = np.unique([*sizes[0] / _OUTSIDE, *sizes, *around_knees, *sizes[-1] * _OUTSIDE])
    return points, np.log2(np.maximum(np.maximum(sizes[0] / points, points / sizes[-1]), 1.0))
