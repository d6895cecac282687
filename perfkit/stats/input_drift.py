"""Whether a model is still asked about the workload that it learned from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2_contingency

from perfkit.errors import InputError
from perfkit.stats.corrections import holm
from perfkit.stats.drift import codes_of
from perfkit.stats.tabular import to_arrow

__all__ = ["ColumnShift", "InputDrift", "watch_inputs"]

_FEWEST = 200
_BINS = 10
_RARE = 0.005
_MOVED = 0.10
_INPUT_ALPHA = 0.01
_NUMBERS = ("payload_bytes", "in_flight", "available_bytes", "hour")
_TEXT = ("method", "kind", "format", "compression", "signalling", "placement", "source")


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnShift:
    """How one column of what a model is asked about moved.

    Args:
        column: its name.
        stability: population stability index, without what chance adds: below 0.1 alike, above 0.25 another workload.
        p: probability of a difference this large in the same workload, adjusted for the number of columns.
        moved: whether both the size and the certainty are there.
    """

    column: str
    stability: float
    p: float
    moved: bool


@dataclasses.dataclass(frozen=True)
class InputDrift:
    """Whether a workload is still the one that a model was trained on.

    Args:
        columns: every column that both frames have, the most moved first.
        n: rows before and after.
        verdict: "drift", "stable", or "too few" rows to tell.
    """

    columns: tuple[ColumnShift, ...]
    n: tuple[int, int]
    verdict: str

    @property
    def moved(self) -> tuple[str, ...]:
        """Names of the columns that moved."""
        return tuple(one.column for one in self.columns if one.moved)

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "verdict": self.verdict,
            "n": list(self.n),
            "columns": [dataclasses.asdict(one) for one in self.columns],
        }

    def __str__(self) -> str:
        moved = ", ".join(f"{one.column} (stability index {one.stability:.2f})" for one in self.columns if one.moved)
        return f"inputs: {self.verdict}" + (f": {moved}" if moved else "")


def watch_inputs(before: Any, after: Any) -> InputDrift:
    """Compare what a model is asked about with what it learned from, column by column.

    Args:
        before, after: frames with any of payload_bytes, in_flight, available_bytes, hour, method, kind, format,
            compression, signalling, placement and source. Missing values count as a class of their own.

    Raises:
        InputError: one is no frame, or they share none of these columns.

    Source: Siddiqi, *Credit Risk Scorecards* (2006), for the population stability index; Pearson's chi-squared test
        of homogeneity on the same classes, adjusted after Holm.

    >>> rng = np.random.default_rng(1)
    >>> small, large = rng.lognormal(9, 1, 2000), rng.lognormal(11, 1, 2000)
    >>> watch_inputs({"payload_bytes": small}, {"payload_bytes": large}).moved
    ('payload_bytes',)
    """
    old, new = to_arrow(before), to_arrow(after)
    names = [name for name in (*_NUMBERS, *_TEXT) if name in old.column_names and name in new.column_names]
    if not names:
        raise InputError(
            f"the frames share none of {', '.join((*_NUMBERS, *_TEXT))}; got {', '.join(old.column_names)} and "
            f"{', '.join(new.column_names)}"
        )
    sizes = (old.num_rows, new.num_rows)
    if min(sizes) < _FEWEST:
        return InputDrift((), sizes, "too few")
    compared = [_compared(old[name], new[name], name) for name in names]
    adjusted = holm([p for _, p in compared])
    columns = [
        ColumnShift(name, stability, float(p), bool(p < _INPUT_ALPHA and stability >= _MOVED))
        for name, (stability, _), p in zip(names, compared, adjusted, strict=True)
    ]
    columns.sort(key=lambda one: -one.stability)
    return InputDrift(tuple(columns), sizes, "drift" if any(one.moved for one in columns) else "stable")


def _compared(old: Any, new: Any, name: str) -> tuple[float, float]:
    """Population stability index and p-value of one column."""
    first, second = (_classes_of_numbers if name in _NUMBERS else _classes_of_text)(old, new, name)
    classes = int(max(first.max(), second.max())) + 1
    counts = np.stack([np.bincount(first, minlength=classes), np.bincount(second, minlength=classes)]).astype(float)
    rare = counts.sum(axis=0) < _RARE * counts.sum()
    counts = np.column_stack((counts[:, ~rare], counts[:, rare].sum(axis=1)))
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return 0.0, 1.0
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    index = float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    chance = (counts.shape[1] - 1) * float(np.sum(1 / counts.sum(axis=1)))
    return max(index - chance, 0.0), float(chi2_contingency(counts, correction=False).pvalue)


def _classes_of_numbers(old: Any, new: Any, name: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    try:
        first, second = (np.asarray(one.to_numpy(), float) for one in (old, new))
    except (TypeError, ValueError) as error:
        raise InputError(f"column {name} holds {old.type} and {new.type}; give numbers") from error
    known = first[np.isfinite(first)]
    # Edges lie between values that occur: a size that rounds a little otherwise does not change its class.
    edges = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS)) if known.size else np.empty(0)
    parts = [np.where(np.isfinite(one), np.searchsorted(edges, one) + 1, 0).astype(np.intp) for one in (first, second)]
    return parts[0], parts[1]


def _classes_of_text(old: Any, new: Any, name: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    both = np.array([str(one or "") for one in (*old.to_pylist(), *new.to_pylist())])
    codes = codes_of(both, name, both.size)
    return codes[: len(old)], codes[len(old) :]
