"""How far the usual cost that a model says may be from the true one, by method and load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.intervals import load_names, sliced
from perfkit.learn.models.judging import HeldOut
from perfkit.stats.medians import group_medians

__all__ = ["doubt_of", "median_doubt"]

_NAME = "median_doubt"
_CLASSES_PER_DOUBLING = 2
_FEWEST_GROUPS = 3
_FEWEST_CELLS = 20
_CELL = ("method", "kind", "format", "compression", "signalling", "placement", "source")


def median_doubt(held_out: HeldOut, log_median: npt.NDArray[np.float64]) -> dict[str, float]:
    """Standard deviation of the logarithm of the true median around the predicted one, by method and load class.

    A cell is a context and half a doubling of size. Its error is the mean over launches (or blocks of time) of their
    median errors; what the launches' own scatter explains of its square is taken off, so that the launches' luck and
    the noise of medians do not count against the model.

    Args:
        held_out: predictions by what was learned from other launches.
        log_median: log cost that was predicted, by the model as it will be distilled.

    Returns:
        By name, for `doubt_of`; empty where too few cells were seen by three launches.
    """
    rows = held_out.rows
    context, _ = rows.combined(_CELL)
    size = np.round(_CLASSES_PER_DOUBLING * np.log2(np.maximum(rows.numbers["payload_bytes"], 1))).astype(np.int64)
    load = np.round(np.log2(rows.numbers["in_flight"])).astype(np.int64)
    _, first, cell = np.unique((context * 256 + size) * 64 + load, return_index=True, return_inverse=True)
    groups = int(rows.group.max()) + 1
    pairs, pair = np.unique(cell * groups + rows.group, return_inverse=True)
    errors, of_cell = group_medians(held_out.log_cost - log_median, pair), pairs // groups
    counts = np.bincount(of_cell)
    mean = np.bincount(of_cell, errors) / counts
    scatter = np.bincount(of_cell, (errors - mean[of_cell]) ** 2) / np.maximum(counts - 1, 1) / counts
    is_known = counts >= _FEWEST_GROUPS
    excess = (mean**2 - scatter)[is_known]
    if excess.size < _FEWEST_CELLS:
        return {}
    position, keys = sliced(rows.take(first[is_known]), ("method", "load"))
    found = {_NAME: _root(excess)}
    for at, key in enumerate(keys):
        mine = excess[position == at]
        if mine.size >= _FEWEST_CELLS:
            found["/".join((_NAME, *key))] = _root(mine)
    return found


def _root(excess: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(max(float(excess.mean()), 0.0)))


def doubt_of(metrics: Mapping[str, float], method: str, in_flight: int) -> float | None:
    """What `median_doubt` found for a method and load; that of all where it is not known apart; None without any."""
    position, names = load_names(np.array([float(in_flight)]))
    return metrics.get("/".join((_NAME, method, names[int(position[0])])), metrics.get(_NAME))
