"""How far chance alone carries the split statistic of *this* series: a block bootstrap of itself."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from perfkit.stats.change_points.boundary import exceeded_with
from perfkit.stats.change_points.divisive import correlation, lag_one, strongest_splits

__all__ = ["Calibration", "calibrate"]

Floats = npt.NDArray[np.float64]

_REPLICATES = 199
_SEED = 20_261_120
_EULER = 0.5772156649015329


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the bootstrap of a series says.

    Args:
        n: its points.
        location, scale: of the Gumbel distribution that the squares of the largest statistics have.
        farthest: the largest statistics of the replicates that went farthest.
        differences: difference of the levels at their splits, in normal scores.
    """

    n: int
    location: float
    scale: float
    farthest: Floats
    differences: Floats

    def threshold(self, chance: float) -> float:
        """What a series like this one exceeds with this chance, or independent normal points do, if that is more."""
        square = self.location - self.scale * math.log(-math.log1p(-chance))
        return max(exceeded_with(chance, self.n), math.sqrt(max(square, 0.0)))

    def stretch(self, chance: float) -> float:
        """How much farther chance carries the statistic of this series than that of independent normal points."""
        return self.threshold(chance) / exceeded_with(chance, self.n)

    def exceeds(self, z: float) -> float:
        """Chance that a series like this one without a change exceeds z."""
        return -math.expm1(-math.exp(-min((z * z - self.location) / self.scale, 700.0)))

    def share_of_large(self, z: float, difference: float) -> float:
        """Of the splits that exceed z by chance: how many are of levels that differ at least as much; never 0."""
        large = int((self.differences * z / self.farthest >= difference).sum())
        return (large + 1) / (self.differences.size + 1)


def calibrate(residuals: Floats) -> Calibration:
    """Bootstrap what the best split of a series leaves.

    The residuals are whitened at lag 1, drawn in blocks (what dependence is left, stays), and coloured again with the
    correlation corrected for its bias. Every replicate's statistic is computed as the series' own was, its
    autocorrelation estimated anew. Squares of such maxima have nearly a Gumbel distribution, so its upper tail is that
    of one with their mean and variance.

    Args:
        residuals: of one series, as `strongest_splits` returns them.

    Source: Davison and Hinkley, *Bootstrap methods and their application* (1997), section 8.2, post-blackening; Kirch,
    *Block permutation principles for the change analysis of dependent data*, JSPI 137 (2007).

    >>> calibration = calibrate(np.random.default_rng(1).normal(size=200))
    >>> 1 <= calibration.stretch(0.01) < 1.1, 3.6 < calibration.threshold(0.01) < 4
    (True, True)
    """
    if not residuals.any():
        return Calibration(residuals.size, 0.0, 1e-9, np.ones(1), np.zeros(1))
    found = strongest_splits(_replicates(residuals), np.ones(residuals.size))
    squares = found.z**2
    scale = max(float(squares.std()) * math.sqrt(6) / math.pi, 1e-9)
    location = float(squares.mean()) - _EULER * scale
    order = np.argsort(-found.z)[: _REPLICATES // 10]
    return Calibration(residuals.size, location, scale, np.maximum(found.z[order], 1.0), found.difference[order])


def _replicates(residuals: Floats) -> Floats:
    n = residuals.size
    raw, colour = float(lag_one(residuals)), float(correlation(residuals))
    innovations = residuals[1:] - raw * residuals[:-1]
    innovations = innovations - innovations.mean()
    warm_up = min(n, math.ceil(3 / (1 - colour))) if colour > 0 else 0
    block = max(4, math.ceil(n ** (1 / 3)))
    length = n + warm_up
    generator = np.random.default_rng((_SEED, n))
    starts = generator.integers(0, innovations.size, (_REPLICATES, -(-length // block)))
    places = (starts[:, :, None] + np.arange(block)) % innovations.size
    drawn = innovations[places.reshape(_REPLICATES, -1)[:, :length]]
    if colour > 0:
        drawn = lfilter([1.0], [1.0, -colour], drawn, axis=1)
    return np.asarray(drawn[:, warm_up:], float)
