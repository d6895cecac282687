"""What a report draws and says of regressions is what was found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from perfkit import report
from perfkit.errors import InputError
from perfkit.report.charts.series import chosen_series
from perfkit.workflows.regressions import Deviation, Regressions


def rows(chart: Any, *columns: str) -> list[dict[str, Any]]:
    """The records that have these columns."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for dataset in datasets for row in dataset if set(columns) <= set(row)]


def test_the_simulation_finds_what_is_true_of_it(found: Regressions) -> None:
    assert {one.series for one in found.regressions} == {f"grpc {size}" for size in ("4KiB", "64KiB", "1MiB", "16MiB")}
    assert all(abs(int(one.index[-2:]) - 29) <= 3 for one in found.regressions)  # the 60th day is 29 September
    assert [one.series for one in found.improvements] == ["uds 4KiB"]
    assert found.regressions[0].causes.events[0].startswith("deployed 2.4.0")
    said = str(report.causes_verdict(found))
    assert "All 4 series with method grpc changed" in said
    assert "deployed 2.4.0" in said


def test_a_series_is_drawn_with_its_levels_change_events_and_range(found: Regressions) -> None:
    chart = report.series_chart(found)
    worst, series = found.regressions[0], chosen_series(found)
    assert series is not None
    assert series.name == worst.series
    points = rows(chart, "place", "measured")
    assert [one["value"] for one in points] == list(series.values)
    levels = rows(chart, "start", "level")
    assert [one["level"] for one in levels] == [worst.before, worst.after]
    (change,) = rows(chart, "is_worse")
    assert change["is_worse"]
    assert change["label"] == f"{worst.relative:+.0%}"
    # The stroke stands between the last point of the old level and the first of the new one.
    assert levels[0]["end"] == levels[1]["start"] == change["place"]
    assert {one["label"] for one in rows(chart, "event")} == {"published v6", "deployed 2.4.0"}
    (expected,) = [one.expected for one in found.series if one.name == series.name]
    assert expected is not None
    (band,) = rows(chart, "low", "high")
    assert (band["low"], band["high"]) == (expected.low, expected.high)


def test_a_spike_does_not_squeeze_the_levels(found: Regressions) -> None:
    series = found.histories[0]
    values = series.values.copy()
    values[10] *= 50
    spiked = dataclasses.replace(series, values=values)
    chart = report.series_chart(dataclasses.replace(found, histories=(spiked,)), series.name).to_dict()
    (domain,) = {
        tuple(layer["encoding"]["y"]["scale"]["domain"])
        for layer in chart["layer"]
        if "scale" in layer["encoding"].get("y", {})
    }
    assert domain[1] < 2 * series.values.max()


def test_of_a_long_series_the_newest_values_are_drawn(found: Regressions) -> None:
    series = found.histories[-1]
    many = 30
    long = dataclasses.replace(
        series,
        values=series.values.repeat(many),
        index=[f"{name} {again}" for name in series.index for again in range(many)],
        rows=series.rows.repeat(many),
        times=None,
    )
    chart = report.series_chart(dataclasses.replace(found, histories=(long,)), long.name)
    points = rows(chart, "place", "measured")
    assert len(points) == 1500
    assert points[-1]["value"] == long.values[-1]
    assert "1200 older values are not drawn" in chart.to_dict()["description"]


def test_every_change_has_a_row_with_where_the_next_point_lies(found: Regressions) -> None:
    drawn = rows(report.regressions_chart(found), "name", "least")
    assert [one["verdict"] for one in drawn] == ["worse"] * 4 + ["better"]
    assert all(one["low"] < one["value"] < one["high"] for one in drawn)
    assert "Worse: grpc" in str(report.changes_verdict(found))


def test_newest_points_that_are_off_are_told(found: Regressions) -> None:
    assert "as expected" in str(report.deviations_verdict(found))
    off = Deviation("uds 4KiB", "x", 60.0, 40.0, 36.0, 44.0, 0.5, 1e-4, 1, True)
    said = str(report.deviations_verdict(dataclasses.replace(found, deviations=(off,))))
    assert "1 worse than was to be expected by over 20% (uds 4KiB +50%)" in said


def test_an_unknown_series_is_said_to_be_none(found: Regressions) -> None:
    assert "no series 'tcp'" in str(report.series_verdict(found, "tcp"))
    assert "no series 'tcp'" in str(report.series_chart(found, "tcp").to_dict()["datasets"])


def test_a_file_is_read_instead_of_the_lake(tmp_path: Path) -> None:
    lines = [f"{build},{100 + build % 3 + (20 if build >= 40 else 0)}" for build in range(80)]
    path = tmp_path / "history.csv"
    path.write_text("\n".join(["build,ms", *lines]))
    opened = report.open_regressions(str(path), index="build", value="ms")
    assert str(opened) == "1 series of history.csv."
    (change,) = opened.found.regressions
    assert change.index == 39
    assert "between" in str(report.series_verdict(opened.found))


def test_an_experiment_is_not_opened_from_two_places() -> None:
    with pytest.raises(InputError, match="give one"):
        report.open_experiment("blocks", file_path="x.csv")
