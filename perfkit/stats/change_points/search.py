"""Divide a series until no part of it splits any more."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from perfkit.stats.change_points.boundary import chance_anywhere, exceeded_with
from perfkit.stats.change_points.calibration import Calibration, calibrate
from perfkit.stats.change_points.divisive import FEWEST, Splits, normal_scores, strongest_splits

__all__ = ["Candidate", "Search", "best_split", "search"]

Floats = npt.NDArray[np.float64]

_SHARE_OF_WINDOWS = 0.1
"""Of the accepted chance: what is spent on windows, where a level that came and went is seen."""

_DIVISORS = (2, 4)
_MOST_ACCEPTED = 3
_NORMAL_MIDDLE_HALF = 1.349


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A split that chance does not explain.

    Args:
        at: first point of the new level.
        chance: chance of a split this clear anywhere in a series like this one without a change.
    """

    at: int
    chance: float


@dataclasses.dataclass(frozen=True)
class Search:
    """What dividing a series found.

    Args:
        candidates: the splits, in order of their place.
        false_alarms: chance that a series like this one without a change shows a large enough split.
    """

    candidates: tuple[Candidate, ...]
    false_alarms: float


def search(logs: Floats, weights: Floats, chance: float, least_difference: float) -> Search:
    """Divide a series where it splits best, then each part, as long as chance does not explain the split.

    Where the whole does not split, windows of a half and a quarter are looked at: a level that came and went leaves two
    parts with nearly the same mean. Most splits that chance makes in a quiet series are too small to count, so more of
    them are accepted, up to three times as many.

    Args:
        logs: logarithms of the points' levels, at least ``2 * FEWEST``.
        weights: of the points.
        chance: accepted chance of a large enough split in a series without a change.
        least_difference: of the logarithms of two levels, for a split to be large enough.

    Source: Matteson and James (2014), see `strongest_splits`; Kovács et al., *Seeded binary segmentation*, Biometrika
    110 (2023), for the windows.
    """
    whole = best_split(logs, weights)
    calibration = calibrate(whole.residuals)
    spread = _spread(logs, int(whole.at))
    difference = least_difference / spread if spread else math.inf
    share = calibration.share_of_large(calibration.threshold(chance), difference)
    accepted = min(chance / share, _MOST_ACCEPTED * chance, 0.5)
    candidates: list[Candidate] = []
    parts = [(0, logs.size)]
    while parts:
        low, high = parts.pop()
        if high - low < 2 * FEWEST:
            continue
        part, weighed = logs[low:high], weights[low:high]
        found = _candidate(part, weighed, accepted, calibration if high - low == logs.size else None)
        if found is None:
            continue
        at = low + found.at
        candidates.append(Candidate(at, found.chance))
        parts += [(low, at), (at, high)]
    threshold = calibration.threshold(accepted)
    false_alarms = calibration.exceeds(threshold) * calibration.share_of_large(threshold, difference)
    return Search(tuple(sorted(candidates, key=lambda one: one.at)), false_alarms)


def _spread(logs: Floats, at: int) -> float:
    """Standard deviation around two levels, after the middle half of the points."""
    centred = np.concatenate([part - np.median(part) for part in (logs[:at], logs[at:])])
    low, high = np.quantile(centred, (0.25, 0.75))
    return float(high - low) / _NORMAL_MIDDLE_HALF


def best_split(logs: Floats, weights: Floats) -> Splits:
    """The best split of one series, on the normal scores of its points."""
    return strongest_splits(normal_scores(logs), weights / weights.mean())


def _candidate(logs: Floats, weights: Floats, chance: float, known: Calibration | None) -> Candidate | None:
    n = logs.size
    split = best_split(logs, weights)
    z, accepted = float(split.z), chance * (1 - _SHARE_OF_WINDOWS)
    stretch = known.stretch(accepted) if known else 1.0
    if z >= exceeded_with(accepted, n) * stretch:
        stretch = (known or calibrate(split.residuals)).stretch(accepted)
        if z >= exceeded_with(accepted, n) * stretch:
            return Candidate(int(split.at), chance_anywhere(z / stretch, n) / (1 - _SHARE_OF_WINDOWS))
    return _candidate_in_windows(logs, weights, chance, stretch)


def _candidate_in_windows(logs: Floats, weights: Floats, chance: float, stretch: float) -> Candidate | None:
    n = logs.size
    divisors = [divisor for divisor in _DIVISORS if n // divisor >= 4 * FEWEST]
    tests = sum(2 * divisor - 1 for divisor in divisors)
    best: Candidate | None = None
    for divisor in divisors:
        size = n // divisor
        starts = np.linspace(0, n - size, 2 * divisor - 1).astype(int)
        places = starts[:, None] + np.arange(size)
        weighed = weights[places]
        splits = strongest_splits(normal_scores(logs[places]), weighed / weighed.mean(axis=1, keepdims=True))
        needed = exceeded_with(chance * _SHARE_OF_WINDOWS / tests, size) * stretch
        for index in np.flatnonzero(splits.z >= needed):
            found = chance_anywhere(float(splits.z[index]) / stretch, size) * tests / _SHARE_OF_WINDOWS
            if best is None or found < best.chance:
                best = Candidate(int(starts[index] + splits.at[index]), found)
    return best
