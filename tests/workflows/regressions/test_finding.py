"""Changes of level in files and frames: where they are, which direction is worse, and what bad input does."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import perfkit
from perfkit.errors import InputError, UnknownNameError

LABELLED = Path(__file__).resolve().parents[4] / "shared" / "data" / "sap-hana-small-2021"


def noisy(n: int = 60, step_at: int | None = None, step: float = 0.2, seed: int = 1) -> np.ndarray:
    level = np.full(n, 100.0)
    if step_at is not None:
        level[step_at:] *= 1 + step
    return level * np.random.default_rng(seed).lognormal(0, 0.03, n)


def frame(values, **columns) -> dict[str, object]:
    return {"build": list(range(1, len(values) + 1)), "ms": list(values), **columns}


@pytest.mark.skipif(not LABELLED.is_dir(), reason="the labelled series are not beside the repository")
@pytest.mark.parametrize("index", ["Index", "GHC"])
def test_every_labelled_regression_is_found_and_none_else(index):
    rows = csv.DictReader((LABELLED / "labels.csv").read_text().splitlines())
    labels = {row["dataset"]: int(row["change_point"]) for row in rows}
    for name, last_before in labels.items():
        found = perfkit.regressions(LABELLED / name, index=index, value="Measurement").regressions
        assert [abs(one.row - last_before) <= 3 for one in found] == [True] * bool(last_before), name


def test_a_step_is_told_with_the_last_row_before_it():
    found = perfkit.regressions(frame(noisy(step_at=40)), index="build", value="ms")
    (change,) = found.regressions
    assert abs(change.row - 40) <= 2
    assert (change.index, change.index_after) == (change.row, change.row + 1)
    assert change.relative == pytest.approx(0.2, abs=0.04)
    assert not found.improvements


def test_the_direction_decides_what_is_worse():
    rates = frame(noisy(step_at=40, step=-0.2))
    assert perfkit.regressions(rates, index="build", value="ms").improvements
    found = perfkit.regressions(rates, index="build", value="ms", better="higher")
    assert found.regressions
    assert not found.improvements


def test_rows_of_one_build_are_repeated_measurements():
    values = np.repeat(noisy(step_at=40), 3) * np.random.default_rng(2).lognormal(0, 0.01, 180)
    table = {"build": np.repeat(np.arange(60), 3), "ms": values}
    found = perfkit.regressions(table, index="build", value="ms")
    assert found.series[0].points == 60
    assert abs(found.regressions[0].index - 39) <= 2
    assert found.regressions[0].row % 3 == 0


def test_series_are_told_apart_by_a_column():
    values = np.concatenate((noisy(step_at=40), noisy(seed=2)))
    table = {"day": [*range(60)] * 2, "ms": values, "method": ["grpc"] * 60 + ["uds"] * 60}
    told = []
    found = perfkit.regressions(table, index="day", value="ms", groups="method", progress=told.append)
    assert [one.series for one in found.regressions] == ["grpc"]
    assert [one.name for one in found.series] == ["grpc", "uds"]
    assert [(one.done, one.total, one.label) for one in told] == [(0, 2, "grpc"), (1, 2, "uds")]


@pytest.mark.parametrize("write", [str, "2026-01-{:02d}T00:00Z".format])
def test_whole_numbers_and_times_are_sorted_and_rows_keep_their_number(write):
    values, order = noisy(30, step_at=15, step=0.4), np.random.default_rng(1).permutation(30)
    table = {"at": [write(int(one) + 1) for one in order], "ms": values[order]}
    found = perfkit.regressions(table, index="at", value="ms")
    (change,) = found.regressions
    assert change.index == (15 if write is str else write(15))
    assert change.row == int(np.flatnonzero(order == 14)[0]) + 1
    assert "sorted" in found.series[0].warnings[0]


def test_other_text_is_taken_in_the_order_of_the_rows():
    versions = [f"1.{number}" for number in range(60)]
    found = perfkit.regressions(frame(noisy(step_at=40), version=versions), index="version", value="ms")
    assert found.regressions[0].index_after == versions[found.regressions[0].row]
    assert not found.series[0].warnings


def test_rows_that_cannot_be_judged_are_left_out_and_named():
    values = noisy(step_at=40).tolist()
    values[3], values[7], values[20], values[21] = float("nan"), float("inf"), -5.0, 0.0
    found = perfkit.regressions(frame(values), index="build", value="ms")
    assert abs(found.regressions[0].row - 40) <= 2
    assert found.series[0].rows == 56
    assert "rows 4, 8, 21, 22" in found.series[0].warnings[0]


def test_a_constant_series_and_one_sample_have_no_changes():
    assert not perfkit.regressions(frame([5.0] * 60), index="build", value="ms").regressions
    assert not perfkit.regressions(frame([5.0]), index="build", value="ms").regressions


@pytest.mark.parametrize(
    ("table", "named", "message"),
    [
        ({"build": [], "ms": []}, {}, "no rows"),
        ({"build": [1, 2], "ms": [1.0, 2.0]}, {"value": "sec"}, "no column 'sec'; the columns are build, ms"),
        ({"build": ["1", "2"], "ms": ["1.0", "fast"]}, {}, "ms of row 2 is 'fast'"),
        ({"build": [1, None], "ms": [1.0, 2.0]}, {}, "build of row 2 is missing"),
        ({"build": [1, 2], "ms": [-1.0, float("nan")]}, {}, "no value above 0"),
        ({"build": [1, 2], "ms": [True, False]}, {}, "must hold numbers"),
        ("nowhere.csv", {}, "no file"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(table, named, message):
    source = pl.DataFrame(table, strict=False) if isinstance(table, dict) else table
    with pytest.raises(InputError, match=message):
        perfkit.regressions(source, **{"index": "build", "value": "ms", **named})


def test_an_unknown_direction_is_refused():
    with pytest.raises(UnknownNameError, match="lower, higher"):
        perfkit.regressions(frame([1.0]), index="build", value="ms", better="small")


@pytest.mark.parametrize("earlier", [0, 8])
def test_a_spike_in_the_newest_point_is_news_only_where_there_were_none(earlier):
    values = np.random.default_rng(1).lognormal(0, 0.03, (20, 9))
    values[0, -1] *= 3
    values[1 : 1 + earlier, 2] *= 3
    table = {"day": [*range(9)] * 20, "ms": values.ravel(), "method": np.repeat([f"m{one}" for one in range(20)], 9)}
    found = perfkit.regressions(table, index="day", value="ms", groups="method").deviations
    assert [one.series for one in found] == ([] if earlier else ["m0"])


def test_seconds_with_fractions_are_sorted_and_a_missing_or_nested_index_is_refused(tmp_path):
    values = [*[10.0, 10.2, 9.9, 10.1] * 4, *[13.0, 13.2, 12.9, 13.1] * 4]
    mixed = sorted(range(32), key=lambda number: number % 7)
    file = tmp_path / "times.csv"
    file.write_text("t,v\n" + "\n".join(f"{1_700_000_000.5 + number},{values[number]}" for number in mixed))
    assert len(perfkit.regressions(file, index="t", value="v").regressions) == 1
    for index, message in (([float("nan"), *range(31)], "t of row 1 is missing"), ([[1]] * 32, "holds List")):
        with pytest.raises(InputError, match=message):
            perfkit.regressions(pl.DataFrame({"t": index, "v": values}, strict=False), index="t", value="v")


def test_series_whose_names_would_be_the_same_stay_apart():
    values = [*[10.0, 10.2, 9.9, 10.1] * 4, *[13.0, 13.2, 12.9, 13.1] * 4]
    frame = {"t": [*range(32)] * 2, "a": ["x y"] * 32 + ["x"] * 32, "b": ["z"] * 32 + ["y z"] * 32, "v": values * 2}
    found = perfkit.regressions(frame, index="t", value="v", groups=("a", "b", "a"))
    assert [one.name for one in found.series] == ["a='x y', b='z'", "a='x', b='y z'"]
    assert len(found.regressions) == 2
