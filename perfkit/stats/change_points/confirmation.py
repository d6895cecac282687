"""Which splits are changes: large enough between their neighbours, and jumps of the best piecewise constant fit too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from perfkit.stats.change_points.divisive import FEWEST
from perfkit.stats.change_points.levels import level
from perfkit.stats.change_points.potts import potts_fit
from perfkit.stats.change_points.search import Candidate, best_split

__all__ = ["Change", "confirmed_changes"]

Floats = npt.NDArray[np.float64]

_CLIP = 4.0
"""Median absolute deviations from its level beyond which a point is a spike to Potts."""

_WIDE = 4.0
"""Median absolute deviations between two levels from which on the points of one hardly reach the other."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A confirmed split.

    Args:
        at: first point of the new level.
        before, after: the levels, in the unit of the values.
        p_value: of the split between its neighbours, at the effective number of points.
        chance: of a split this clear anywhere, see `Candidate`.
    """

    at: int
    before: float
    after: float
    p_value: float
    chance: float

    @property
    def relative(self) -> float:
        """after / before - 1."""
        return self.after / self.before - 1


def confirmed_changes(
    logs: Floats, weights: Floats, candidates: Sequence[Candidate], minimum_change: float
) -> list[Change]:
    """Judge each candidate between its neighbours, and leave out the weakest until all hold.

    A change holds if it is as large as `minimum_change`, and if the L1 Potts fit of the whole series jumps in the same
    direction within five points of it. A jump there costs ``ln(n) / 2`` mean absolute deviations: the fit's distance in
    these is the negative logarithm of the Laplace likelihood, and a level is one parameter (Schwarz's criterion).

    Args:
        logs: logarithms of the points' levels.
        weights: of the points.
        candidates: the splits, in order of their place.
        minimum_change: smallest relative change.
    """
    held = list(candidates)
    if not held:
        return []
    jumps = _potts_jumps(logs, weights, [one.at for one in held])
    while held:
        changes = _between_neighbours(logs, weights, held)
        weak = [one for one in changes if abs(one.relative) < minimum_change or not _jumps_too(one, jumps)]
        if not weak:
            return changes
        weakest = changes.index(min(weak, key=lambda one: abs(one.relative)))
        held = [Candidate(one.at, one.chance) for index, one in enumerate(changes) if index != weakest]
    return []


def _between_neighbours(logs: Floats, weights: Floats, held: Sequence[Candidate]) -> list[Change]:
    changes: list[Change] = []
    ends = [one.at for one in held[1:]] + [logs.size]
    low = 0
    for candidate, high in zip(held, ends, strict=True):
        split = best_split(logs[low:high], weights[low:high])
        at = low + _place(logs[low:high], weights[low:high], int(split.at))
        before, after = level(np.exp(logs[low:at])), level(np.exp(logs[at:high]))
        freedom = max((high - low) / float(split.inflation) - 2, 1.0)
        p_value = 2 * float(stdtr(freedom, -float(split.t)))
        changes.append(Change(at, before, after, p_value, candidate.chance))
        low = at
    return changes


def _place(logs: Floats, weights: Floats, at: int) -> int:
    """Where the two levels fit best in absolute deviations, within five points of the split.

    Ranks forget the gap between two levels; where it is wide, it says better than they do where the step is.
    """
    before, after = float(np.median(logs[:at])), float(np.median(logs[at:]))
    deviations = np.abs(np.concatenate((logs[:at] - before, logs[at:] - after)))
    if abs(after - before) < _WIDE * float(np.median(deviations)):
        return at
    first, last = max(at - FEWEST, FEWEST), min(at + FEWEST, logs.size - FEWEST)
    moved = slice(first, last)
    losses = weights[moved] * (np.abs(logs[moved] - before) - np.abs(logs[moved] - after))
    return first + int(np.concatenate(([0.0], np.cumsum(losses))).argmin())


def _potts_jumps(logs: Floats, weights: Floats, places: Sequence[int]) -> Floats:
    """At each point, how far the fit jumps to it."""
    parts = np.split(logs, places)
    levels = np.concatenate([np.full(part.size, np.median(part)) for part in parts])
    residuals = logs - levels
    limit = _CLIP * float(np.median(np.abs(residuals)))
    clipped = np.clip(residuals, -limit, limit)
    penalty = float(np.log(logs.size) / 2 * np.average(np.abs(clipped), weights=weights))
    fitted = potts_fit(levels + clipped, weights, penalty)
    return np.diff(fitted, prepend=fitted[0])


def _jumps_too(change: Change, jumps: Floats) -> bool:
    near = jumps[max(change.at - FEWEST, 0) : change.at + FEWEST + 1]
    return bool((near * change.relative > 0).any())
