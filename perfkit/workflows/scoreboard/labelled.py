"""Series that somebody labelled: a smoke test on real data, for whoever has some. None are bundled."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.errors import InputError
from perfkit.stats.change_points import change_points
from perfkit.workflows.scoreboard.claims import Claim, Entry, observed

__all__ = ["labelled_entry"]

_LABELS = "labels.csv"
_WANTED = ("dataset", "change_point")
_NEAR = 10


def labelled_entry(folder: Path) -> Entry:
    """An entry of a folder of labelled series.

    Args:
        folder: has ``labels.csv`` with the columns ``dataset`` (a file beside it) and ``change_point`` (the last index
            before the regression, 0 for none). Each dataset is a CSV file whose first column is the index, whose last
            one is the measurement, and whose second one, where there are three, tells the build: rows of one build are
            repeated measurements. More is worse.

    Raises:
        InputError: there are no labels, or they lack a column or name a file that is not there.
    """
    path = folder / _LABELS
    if not path.is_file():
        raise InputError(f"{path} is no file; give a folder with {_LABELS} and the series that it names")
    labels = pl.read_csv(path)
    if missing := [name for name in _WANTED if name not in labels.columns]:
        raise InputError(f"{path} has no column {', '.join(missing)}; it needs {' and '.join(_WANTED)}")
    series = tuple(labels.select(_WANTED).sort("dataset").iter_rows())
    if absent := [str(name) for name, _ in series if not (folder / str(name)).is_file()]:
        raise InputError(f"{path} names {absent[0]}, which is not in {folder}")
    return Entry(
        "labelled",
        f"{len(series)} labelled series of {folder.name}",
        functools.partial(judge_labelled, folder=folder, series=series),
        (
            Claim("regressions found", ("found",), observed, low=1.0),
            Claim("series without one that show one", ("false",), observed, high=0.0),
        ),
        full_runs=1,
        run_s=0.05 * len(series),
        small_runs=1,
    )


def judge_labelled(_seed: int, *, folder: Path, series: tuple[tuple[str, int], ...]) -> dict[str, npt.ArrayLike]:
    """Whether each labelled regression was found within ten rows, and whether others were seen where there is none."""
    found, false = [], []
    for name, last_before in series:
        frame = pl.read_csv(folder / name).drop_nulls()
        frame = frame.sort(frame.columns[0])
        index, values = frame.to_series(0).to_numpy(), frame.to_series(-1).to_numpy()
        builds = frame.to_series(1).to_numpy() if frame.width > 2 else None
        worse = [one for one in change_points(values, builds) if one.relative > 0]
        if last_before:
            row = int(np.searchsorted(index, last_before, side="right"))
            found.append(float(any(abs(one.index - row) <= _NEAR for one in worse)))
        else:
            false.append(float(bool(worse)))
    return {"found": found, "false": false}
