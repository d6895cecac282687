"""What a run measured, read from wherever it is: levels of its scenarios by launch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from perfkit.errors import InputError
from perfkit.schema import TRANSFER_COLUMNS
from perfkit.stats.medians import smooth_median
from perfkit.stats.tabular import to_arrow
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.runs import resolve_run

__all__ = ["Levels", "Run", "Side", "common_scenarios", "pooled", "read_side"]

Floats = npt.NDArray[np.float64]

_VALUES: Mapping[str, pl.Expr] = {
    "latency": pl.col("latency_ns"),
    "cpu": pl.col("cpu_sender_ns") + pl.col("cpu_receiver_ns"),
    "resident": pl.col("resident_bytes"),
}
_NAMING = ("stage", "method", "signalling", "placement", "temperature", "touched", "kind", "format", "compression")
_NAMING_NUMBERS = ("payload_bytes", "in_flight")


@runtime_checkable
class HasObservations(Protocol):
    """What is needed of a run that is not in a lake, such as what `perfkit.bench` returned."""

    @property
    def run_id(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def fingerprint(self) -> Mapping[str, str]: ...
    @property
    def observations(self) -> pa.Table: ...


Run: TypeAlias = str | HasObservations | Any
"""The name of a run in the lake, a result of `perfkit.bench`, or a frame with the columns of observations."""


@dataclasses.dataclass(frozen=True)
class Side:
    """A run that is compared.

    Args:
        name: the run's id, or what a frame is called.
        preset: what was measured; empty where a frame does not tell.
        fingerprint: of its host; empty where a frame does not tell.
        observations: its transfers, every column filled in; failed ones, too.
        cells: scenario, group (its method; the stage where there is none), is_control, launch and value: the median of
            the launch's rounds.
    """

    name: str
    preset: str
    fingerprint: Mapping[str, str]
    observations: pl.DataFrame
    cells: pl.DataFrame

    @property
    def failed(self) -> int:
        """Transfers that failed; they have no level."""
        return self.observations.filter(~pl.col("ok")).height

    @property
    def launches(self) -> int:
        """Launches that measured anything."""
        return self.cells["launch"].n_unique()


@dataclasses.dataclass(frozen=True)
class Levels:
    """What both runs measured: scenario by launch, in the order of a run's launches; NaN where a launch lacks it."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    before: Floats
    after: Floats

    def of(self, group: str) -> Levels:
        """The scenarios of one group."""
        chosen = [index for index, own in enumerate(self.groups) if own == group]
        names, groups = (tuple(words[index] for index in chosen) for words in (self.names, self.groups))
        return Levels(names, groups, self.before[chosen], self.after[chosen])


def read_side(run: Run, name: str, lake: str | Path, quantity: str) -> Side:
    """Read a run.

    Args:
        run: a name, a result of `perfkit.bench`, or a frame.
        name: what a frame is called.
        lake: folder of the lake that names are looked up in; what waits in its journal is drained before.
        quantity: one of `perfkit.workflows.comparison.QUANTITIES`.

    Raises:
        InputError: no run is meant, it has no observations any more, or a frame lacks columns.
        LakeError: the lake cannot be read.
    """
    if isinstance(run, str):
        opened = open_fresh_lake(lake)
        record = resolve_run(opened, run)
        observations = opened.observations_of(record.run_id)
        if not observations.num_rows:
            raise InputError(
                f"run {record.run_id} has no observations in {lake}; `perfkit runs show` says what is known"
            )
        return Side(record.run_id, record.preset, json.loads(record.fingerprint), *_cells(observations, quantity))
    if isinstance(run, HasObservations):
        return Side(run.run_id, run.preset, run.fingerprint, *_cells(run.observations, quantity))
    return Side(name, "", {}, *_cells(_as_table(run), quantity))


def pooled(sides: Sequence[Side]) -> Side:
    """Several runs as one that has all of their launches; each launch stays one of its run."""
    if len(sides) == 1:
        return sides[0]
    apart = [
        side.cells.with_columns(pl.concat_str(pl.lit(f"{number} "), "launch").alias("launch"))
        for number, side in enumerate(sides)
    ]
    observations = [side.observations.select(column.name for column in TRANSFER_COLUMNS) for side in sides]
    together = pl.concat(observations, how="vertical_relaxed")
    names = " + ".join(side.name for side in sides)
    return Side(names, sides[0].preset, sides[0].fingerprint, together, pl.concat(apart, how="vertical_relaxed"))


def _as_table(frame: Any) -> pa.Table:
    try:
        return to_arrow(frame)
    except InputError as error:
        raise InputError(f"{error}; or the name of a run, or a result of perfkit.bench") from error


def _cells(observations: pa.Table, quantity: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every observation, and the smooth median of the rounds' medians of every scenario and launch."""
    given = pl.from_arrow(observations)
    assert isinstance(given, pl.DataFrame)  # a table never becomes a series
    missing = [column.name for column in TRANSFER_COLUMNS if column.required and column.name not in given.columns]
    if missing:
        raise InputError(f"the frame lacks {', '.join(missing)}; see perfkit.schema.TRANSFER_COLUMNS")
    _check_types(given, _VALUES[quantity].meta.root_names())
    absent = [column for column in TRANSFER_COLUMNS if column.name not in given.columns]
    frame = given.with_columns(pl.lit(column.default).alias(column.name) for column in absent)
    described = pl.concat_str([*_NAMING, *_NAMING_NUMBERS], separator=" ")
    named = frame.with_columns(
        pl.when(pl.col("scenario") == "").then(described).otherwise("scenario").alias("scenario")
    )
    cells = (
        named.filter("ok")
        .with_columns(
            pl.when(pl.col("method") == "").then("stage").otherwise("method").alias("group"),
            (pl.col("stage") == "control").alias("is_control"),
            pl.concat_str(["run_id", "launch"], separator=" ").alias("launch"),
            _VALUES[quantity].cast(pl.Float64).alias("value"),
        )
        .filter((pl.col("value") > 0) & pl.col("value").is_finite())
        .group_by("scenario", "is_control", "launch", "round")
        .agg(pl.col("value").median(), pl.col("group").first())
        .group_by("scenario", "is_control", "launch")
        .agg(pl.col("value").log().alias("logs"), pl.col("group").first())
        .sort("scenario", "launch")
    )
    return named, cells.select(pl.exclude("logs"), pl.Series("value", np.exp(_smooth_medians(cells["logs"]))))


def _check_types(given: pl.DataFrame, measured: Sequence[str]) -> None:
    """Refuse text where numbers belong: a file has as text what cannot be read in a single row, too."""
    if not given.height:  # without rows, everything is text
        return
    for name in (*measured, "payload_bytes"):
        if name not in given.columns or given[name].dtype.is_numeric() or given[name].dtype == pl.Null:
            continue
        texts = given[name].cast(pl.String)
        wrong = given.with_row_index("row", 1).filter(texts.cast(pl.Float64, strict=False).is_null())
        where = f" ({wrong[name][0]!r} in row {wrong['row'][0]})" if wrong.height else ""
        raise InputError(f"column {name} is {given[name].dtype}{where}, must be numbers; repair or drop those rows")
    if "ok" in given.columns and given["ok"].dtype != pl.Boolean:
        raise InputError(f"column ok is {given['ok'].dtype}, must be true or false: whether a transfer succeeded")


def _smooth_medians(lists: pl.Series) -> Floats:
    """The median of each list: few rounds are too few for the middle one alone (a tenth more noise with nine)."""
    lengths = lists.list.len().to_numpy()
    table = np.full((lengths.size, lengths.max(initial=1)), np.nan)
    table[np.arange(table.shape[1]) < lengths[:, None]] = lists.explode().to_numpy()
    return smooth_median(table)


def common_scenarios(side_a: Side, side_b: Side, *, is_control: bool) -> Levels:
    """The levels of the scenarios, or of the controls, that both runs measured."""
    tables = [side.cells.filter(pl.col("is_control") == is_control) for side in (side_a, side_b)]
    names = sorted(set(tables[0]["scenario"]) & set(tables[1]["scenario"]))
    arrays = [_by_launch(table, names, side) for table, side in zip(tables, (side_a, side_b), strict=True)]
    groups = dict(tables[0].select("scenario", "group").unique("scenario").iter_rows())
    return Levels(tuple(names), tuple(groups[name] for name in names), *arrays)


def _by_launch(cells: pl.DataFrame, names: Sequence[str], side: Side) -> Floats:
    launches = {launch: index for index, launch in enumerate(side.cells["launch"].unique().sort())}
    rows = {name: index for index, name in enumerate(names)}
    levels = np.full((len(names), len(launches)), np.nan)
    for scenario, launch, value in cells.select("scenario", "launch", "value").iter_rows():
        if scenario in rows:
            levels[rows[scenario], launches[launch]] = value
    return levels
