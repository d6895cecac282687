"""Charts of an analysis: what has no rows enough is not drawn, and every figure has its interval."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import altair as alt
import pytest

from perfkit.report import profile_chart, stages_chart, tails_chart
from perfkit.workflows.analyse import analyse
from perfkit.workflows.analyse_percentiles import Profile
from perfkit.workflows.analyse_result import Analysis


def rows_of(chart: alt.LayerChart) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def points_of(chart: alt.LayerChart) -> list[dict[str, Any]]:
    """The rows of the first layer: without those of the labels, which are moved."""
    plain = chart.to_dict()
    return list(plain["datasets"][plain["layer"][0]["data"]["name"]])


def marks_of(chart: alt.LayerChart) -> list[str]:
    return [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]


def test_tails_are_drawn_with_their_intervals_from_the_median_on(analysis: Analysis) -> None:
    chart = tails_chart(analysis.percentiles)
    rows = [row for row in points_of(chart) if row["percentile"] != "p50"]
    # Three launches of 150 sends each; shm_pool has 75 in this signalling, too few even for two launches in one.
    assert [(row["method"], row["percentile"]) for row in rows] == [("grpc", "p95"), ("uds", "p95")]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert marks_of(chart)[:3] == ["line", "rule", "point"]


def test_methods_stand_beside_each_other_at_a_percentile(analysis: Analysis) -> None:
    first, second = (
        row["rarity"] for row in points_of(tails_chart(analysis.percentiles)) if row["percentile"] != "p50"
    )
    assert 0 < second - first < 0.1


def test_tails_of_other_groups_say_why_they_are_not_drawn(observations: Any) -> None:
    grouped = analyse(observations, by=("method", "size_class"))
    assert "grouped by method alone" in json.dumps(tails_chart(grouped.percentiles).to_dict())
    assert "rows enough" in json.dumps(tails_chart(()).to_dict())


def test_a_profile_has_a_band_per_median_and_a_bar_per_p95(analysis: Analysis, observations: Any) -> None:
    chart = profile_chart(analysis.profiles["size"])
    medians = {(row["method"], row["payload"]) for row in rows_of(chart) if row.get("percentile") == "p50"}
    assert len(medians) == 3 * 15 - 15  # of shm_pool every size has 15 sends in this signalling, of the others 30
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows_of(chart) if "latency" in row)
    assert marks_of(chart)[:5] == ["area", "line", "point", "rule", "point"]
    assert len(rows_of(chart)) < 5000
    assert "(log scale)" in json.dumps(chart.to_dict())


def test_a_profile_that_is_not_by_size_says_so(analysis: Analysis) -> None:
    assert "by size is drawn" in json.dumps(profile_chart(analysis.profiles["load"]).to_dict())
    assert "rows enough" in json.dumps(profile_chart(Profile("size", ())).to_dict())


def test_stages_fill_the_bar_and_the_interval_lies_around_the_codecs_share(analysis: Analysis) -> None:
    chart = stages_chart(analysis.stages_at())
    bars = [row for row in rows_of(chart) if "stage" in row]
    assert {row["stage"] for row in bars} == {"encode", "decode", "transport"}
    names = {row["name"] for row in bars}
    assert [name.split(",")[0] for name in sorted(names)] == ["binary as raw", "tensor as numpy"]
    for name in names:
        ends = [row["end"] for row in bars if row["name"] == name]
        assert max(ends) == pytest.approx(1)
    (row,) = [row for row in rows_of(chart) if "codec_low" in row and row["name"].startswith("tensor")]
    (edge,) = [bar["end"] for bar in bars if bar["stage"] == "decode" and bar["name"] == row["name"]]
    assert row["codec_low"] < edge < row["codec_high"]


def test_each_codec_is_shown_by_its_cheapest_method(analysis: Analysis) -> None:
    names = {row["name"] for row in rows_of(stages_chart(analysis.stages_at(2**24))) if "stage" in row}
    assert all("by shm_pool" in name for name in names)


def test_without_stages_the_chart_says_what_measures_them() -> None:
    assert "perfkit bench" in json.dumps(stages_chart(()).to_dict())


def test_a_cost_without_a_lower_bound_is_drawn(analysis: Analysis) -> None:
    shares = [dataclasses.replace(one, low_ns=0.0) for one in analysis.stages_at()]
    assert all("±100%" in row["name"] for row in points_of(stages_chart(shares)))


def test_every_chart_is_as_wide_as_its_container_and_describes_itself(analysis: Analysis) -> None:
    charts = (
        tails_chart(analysis.percentiles),
        profile_chart(analysis.profiles["size"]),
        stages_chart(analysis.stages_at()),
    )
    for chart in charts:
        assert chart.to_dict()["width"] == "container"
        assert "95 % interval" in chart.to_dict()["description"]
