"""Find where measurements became worse for good: in a file, a frame or the lake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, UnknownNameError
from perfkit.workflows.regressions.judging import judge
from perfkit.workflows.regressions.result import Regressions
from perfkit.workflows.regressions.series_frame import read_frame, series_of_frame

__all__ = ["regressions"]

_BETTER = ("lower", "higher")


def regressions(
    source: Any,
    *,
    index: str,
    value: str,
    groups: str | Sequence[str] = (),
    better: str = "lower",
    minimum_change: float = 0.05,
) -> Regressions:
    """Find changes of level in series of measurements.

    Args:
        source: a CSV file with a header, a Parquet file, or any frame.
        index: column that orders the measurements: builds, times. Rows with the same one are repeated measurements.
        value: column of measurements, above 0.
        groups: columns whose values tell series apart.
        better: ``lower`` or ``higher``: which values are better.
        minimum_change: smallest relative change of level that counts, above 0.

    Returns:
        Regressions and improvements with where, how much and how certain.

    Raises:
        InputError: the source cannot be read, or a column or value is not what it must be.
        UnknownNameError: `better` is neither.

    >>> table = {"build": list(range(60)), "ms": [100.0, 101.0, 99.0, 100.5] * 10 + [120.0, 121.0, 119.0, 120.5] * 5}
    >>> found = regressions(table, index="build", value="ms")
    >>> [(one.row, one.index, round(one.relative, 2)) for one in found.regressions]
    [(40, 39, 0.2)]
    """
    if better not in _BETTER:
        raise UnknownNameError("direction", better, _BETTER)
    if not 0 < minimum_change < 1:
        raise InputError(f"minimum_change == {minimum_change}, must be between 0 and 1")
    names = (groups,) if isinstance(groups, str) else tuple(groups)
    series = series_of_frame(read_frame(source), index=index, value=value, groups=names)
    judged = judge(series, minimum_change)
    changes = sorted((change for one in judged for change in one.changes), key=lambda one: -abs(one.relative))
    worse = [(one.relative > 0) == (better == "lower") for one in changes]
    return Regressions(
        source=str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}",
        regressions=tuple(one for one, is_worse in zip(changes, worse, strict=True) if is_worse),
        improvements=tuple(one for one, is_worse in zip(changes, worse, strict=True) if not is_worse),
        series=tuple(one.summary for one in judged),
        better=better,
        unit="",
        minimum_change=minimum_change,
    )
