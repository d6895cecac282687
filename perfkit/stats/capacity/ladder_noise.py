"""How large the noise of a measured ladder is, of which shape, and ladders drawn with as much of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.capacity.law import Floats, predict, slopes_of

__all__ = ["LadderNoise", "ladder_noise"]

_PROPORTIONAL = 0.8
"""Belief, before the data speak, that noise is in proportion to throughput rather than the same at every level."""
_SURELY = 0.01
_RELATIVE_FLOOR = 1e-3


@dataclasses.dataclass(frozen=True)
class LadderNoise:
    """Of the mean of each level: two shapes, the standard deviation of each, and how likely the second is."""

    centre: Floats
    constant: Floats
    proportional: Floats
    share_proportional: float
    degrees: int
    origin: str
    is_missed: bool
    unexplained: Floats | None = None

    def simulate(self, draws: int, generator: np.random.Generator) -> Floats:
        """Means of simulated ladders, (draws, levels), each above 0."""
        is_proportional = generator.random((draws, 1)) < self.share_proportional
        spread = np.where(is_proportional, self.proportional, self.constant)
        noise = spread * generator.standard_normal((draws, len(self.centre)))
        if self.unexplained is None:
            square = generator.chisquare(self.degrees, (draws, 1))
        else:
            # Each drawn ladder would tell its noise by its own residuals, too: what moves the fit moves these, since
            # least squares do not weight by the noise, and independent scales would cover alpha too often.
            seen, shapes = noise @ self.unexplained, (self.proportional, self.constant)
            square = np.where(is_proportional, *(_square_of(seen, self.unexplained, shape) for shape in shapes))
        values = self.centre + noise * np.sqrt(self.degrees / square)
        return np.maximum(values, _RELATIVE_FLOOR * self.centre)


def ladder_noise(
    levels: Floats,
    at_level: npt.NDArray[np.intp],
    counts: npt.NDArray[np.intp],
    values: Floats,
    means: Floats,
    free: Floats,
) -> LadderNoise:
    """The noise of a ladder, as between the measurements of one level, or where these are too few, as around the law.

    Args:
        levels: distinct concurrencies, ascending.
        at_level: which of them each measurement belongs to.
        counts: measurements of each level.
        values: throughput of each measurement.
        means: of each level.
        free: the fit without bounds, as `perfkit.stats.capacity.law` writes it.
    """
    centre = predict(free[None, :], levels)[0]
    residuals = (means - centre) * np.sqrt(counts)
    shapes = (np.ones_like(centre), centre)
    # Around the law: only what no change of its parameters could explain says something about noise.
    unexplained = np.linalg.svd(slopes_of(free, levels) * np.sqrt(counts)[:, None])[0][:, 3:]
    root = unexplained * np.sqrt(counts)[:, None]
    around = [_scale_around(unexplained, residuals, shape) for shape in shapes]
    degrees = len(levels) - 3
    within_degrees = len(values) - len(levels)
    if within_degrees >= 3:
        within = [_scale_within(at_level, counts, values, means, shape) for shape in shapes]
        likelier = int(within[1][1] > within[0][1])
        ratio = (around[likelier][0] / max(within[likelier][0], _tiny())) ** 2
        is_missed = bool(special.fdtrc(degrees, within_degrees, ratio) < _SURELY)
        if not is_missed:
            return _mixed(
                centre, counts, shapes, within, within_degrees, "noise as between measurements of one level", False
            )
        return _mixed(centre, counts, shapes, around, degrees, "noise as around the law", True, root)
    return _mixed(centre, counts, shapes, around, degrees, "noise as around the law", False, root)


def _square_of(seen: Floats, unexplained: Floats, spread: Floats) -> Floats:
    """Sum of squares, (draws, 1), that tells the noise of drawn ladders in units of `spread`."""
    unit = spread.max()  # an exact ladder has next to no noise, whose square is nothing
    covariance = unexplained.T @ np.diag((spread / unit) ** 2) @ unexplained
    seen = seen / unit
    return np.asarray((seen * np.linalg.solve(covariance, seen.T).T).sum(axis=1, keepdims=True))


def _tiny() -> float:
    return float(np.finfo(np.float64).tiny)


def _scale_around(unexplained: Floats, residuals: Floats, shape: Floats) -> tuple[float, float]:
    """Noise of one measurement in units of `shape`, and the log-likelihood, from residuals."""
    seen = unexplained.T @ residuals
    covariance = unexplained.T @ np.diag(shape**2) @ unexplained
    square = max(float(seen @ np.linalg.solve(covariance, seen)) / len(seen), _tiny())
    return math.sqrt(square), -len(seen) / 2 * math.log(square) - float(np.linalg.slogdet(covariance)[1]) / 2


def _scale_within(
    at_level: npt.NDArray[np.intp], counts: npt.NDArray[np.intp], values: Floats, means: Floats, shape: Floats
) -> tuple[float, float]:
    """As `_scale_around`, from what the measurements of one level differ by."""
    degrees = len(values) - len(means)
    square = max(float((((values - means[at_level]) / shape[at_level]) ** 2).sum()) / degrees, _tiny())
    return math.sqrt(square), -degrees / 2 * math.log(square) - float(((counts - 1) * np.log(shape)).sum())


def _mixed(
    centre: Floats,
    counts: npt.NDArray[np.intp],
    shapes: tuple[Floats, Floats],
    scales: list[tuple[float, float]],
    degrees: int,
    origin: str,
    is_missed: bool,
    unexplained: Floats | None = None,
) -> LadderNoise:
    (constant, constant_likelihood), (proportional, proportional_likelihood) = scales
    odds = proportional_likelihood - constant_likelihood + math.log(_PROPORTIONAL / (1 - _PROPORTIONAL))
    share = float(special.expit(odds))
    by_root = 1 / np.sqrt(counts)
    return LadderNoise(
        centre,
        constant * shapes[0] * by_root,
        proportional * shapes[1] * by_root,
        share,
        degrees,
        origin,
        is_missed,
        unexplained,
    )
