"""Charts show cells with their intervals, in colours that mean the same everywhere."""

from __future__ import annotations

import json
import math
from typing import Any

import altair as alt
import pyarrow as pa
import pytest

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context
from perfkit.learn import Fit
from perfkit.report import latency_chart, ranges_chart, ratios_chart
from perfkit.report.charts.ranges import measured_contexts
from perfkit.report.charts.scales import labels_apart
from perfkit.report.theme import method_styles
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.stats.hierarchical import Estimate


def rows_of(chart: alt.LayerChart) -> list[dict[str, Any]]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def marks_of(chart: alt.LayerChart) -> list[str]:
    return [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]


def test_sends_are_aggregated_to_one_point_per_launch(observations: pa.Table) -> None:
    points = [row for row in rows_of(latency_chart(observations)) if "median" in row]
    assert len(points) == 3 * 15 * 3  # methods, sizes, launches
    by_method = {row["method"]: row["n"] for row in points}
    # One signalling for shared memory; the other methods do not care which it is.
    assert by_method == {"shm_pool": 5, "uds": 10, "grpc": 10}


def test_few_rows_are_charted_however_many_were_measured(observations: pa.Table) -> None:
    many = pa.concat_tables([observations] * 10)
    assert len(rows_of(latency_chart(many))) < 5000


def test_intervals_are_bands_with_and_without_a_fit(observations: pa.Table, fitted: Fit) -> None:
    assert marks_of(latency_chart(observations))[:2] == ["area", "line"]
    assert marks_of(latency_chart(observations, fitted.curves))[:2] == ["area", "line"]
    for row in rows_of(latency_chart(observations, fitted.curves)):
        if "low_ns" in row:
            assert row["low_ns"] <= row["latency_ns"] * 1.001
            assert row["latency_ns"] <= row["high_ns"] * 1.001 or row["payload_bytes"] == 2**24  # moved labels


def test_the_strip_shows_the_chosen_ranges(observations: pa.Table, fitted: Fit) -> None:
    strip = [row for row in rows_of(latency_chart(observations, fitted.curves)) if "from_to" in row]
    assert [row["method"] for row in strip] == ["uds", "shm_pool"]
    assert strip[0]["end"] == strip[1]["start"] == pytest.approx(fitted.crossovers()[0].payload_bytes)
    assert strip[-1]["end"] == 2**24


def test_nothing_measured_in_a_setting_is_said_and_not_an_error(observations: pa.Table) -> None:
    chart = latency_chart(observations, context=Context(in_flight=4))
    assert "No transfer was measured" in json.dumps(chart.to_dict())


def test_axes_are_logarithmic_and_labelled_in_human_units(observations: pa.Table) -> None:
    text = json.dumps(latency_chart(observations).to_dict())
    assert "(log scale)" in text
    assert "16MiB" in text
    assert "1ms" in text


def test_every_chart_is_as_wide_as_its_container_and_describes_itself(observations: pa.Table, fitted: Fit) -> None:
    ratios = {"grpc_vs_uds": Estimate(12, 10, 15, 30, 3)}
    for chart in (latency_chart(observations), ranges_chart(fitted.curves), ratios_chart(ratios)):
        assert chart.to_dict()["width"] == "container"
        assert "95 %" in chart.to_dict()["description"] or "slowest launch" in chart.to_dict()["description"]


def test_every_setting_has_a_strip(fitted: Fit) -> None:
    contexts = measured_contexts(fitted.curves)
    assert list(contexts) == ["bytes", "bytes, announced over gRPC", "bytes, no shared memory left"]
    strips = [row for row in rows_of(ranges_chart(fitted.curves)) if "from_to" in row]
    assert {row["setting"] for row in strips} == set(contexts)
    assert not {row["method"] for row in strips if "no shared memory" in row["setting"]} & {"shm", "shm_pool"}


def test_without_curves_the_ranges_say_why() -> None:
    assert "No method was measured" in json.dumps(ranges_chart(CurveSet({})).to_dict())


def test_ratios_are_shown_with_interval_and_equality() -> None:
    ratios = {
        "shm_pool_vs_memcpy_100MiB": Estimate(1.04, 0.97, 1.12, 90, 3),
        "grpc_vs_uds": Estimate(12, 10, 15, 30, 3),
    }
    rows = rows_of(ratios_chart(ratios))
    assert {(row["low"], row["high"], row["n"]) for row in rows if "low" in row} == {(0.97, 1.12, 90), (10, 15, 30)}
    assert all(row["first"] < 0.97 for row in rows)
    assert "limits" in json.dumps(ratios_chart({}).to_dict())


def test_ratio_without_an_interval_is_drawn_as_its_value() -> None:
    """A single round bounds nothing, and a logarithmic axis has neither 0 nor infinity."""
    (row,) = [row for row in rows_of(ratios_chart({"a_vs_b": Estimate(2.0, 0.0, math.inf, 1, 1)})) if "low" in row]
    assert (row["low"], row["high"], row["interval"]) == (2.0, 2.0, "unknown")


def test_no_two_methods_look_alike_and_none_ever_changes() -> None:
    styles = method_styles([*SIMPLICITY_ORDER, "mine"])
    assert len({style.colour for style in styles.values()}) == len({style.shape for style in styles.values()}) == 6
    for name in SIMPLICITY_ORDER:
        assert method_styles([name])[name] == styles[name]


def test_labels_that_would_overlap_move_apart_around_their_middle() -> None:
    apart = labels_apart([100.0, 101.0, 102.0], 0.5)
    assert apart == sorted(apart)
    assert apart[1] == pytest.approx(101, rel=0.02)
    assert apart[2] / apart[0] == pytest.approx(10, rel=0.02)
