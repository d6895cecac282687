"""What every chart keeps to, however little there is to draw."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import vl_convert

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Context
from perfkit.engine.ranges import compile_ranges
from perfkit.learn import Crossover, Fit, fit
from perfkit.learn.models.report import ModelReport, SliceCoverage, TargetReport
from perfkit.report import charts
from perfkit.report.theme import DARK_CONFIG, method_styles
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.stats.hierarchical import Estimate
from perfkit.workflows.analyse import analyse
from perfkit.workflows.analyse_percentiles import Profile
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.comparison import Comparison
from perfkit.workflows.experiment.following import experiment_report
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.regressions import Regressions
from perfkit.workflows.replay_result import ReplayResult

EDGE = Crossover(100_000.0, 80_000.0, 130_000.0, "uds", "shm_pool")
LADDER = {"concurrency": [1, 2, 4, 8, 16], "throughput": [10, 19, 32, 45, 41]}
DEMAND = {
    "time": [f"2026-{10 + day // 28:02}-{1 + day % 28:02}T00:00:00+00:00" for day in range(24)],
    "value": [20 + day / 2 + 3 * (day % 7 == 0) + day % 3 for day in range(24)],
}
ReplayOf = Callable[[tuple[str, ...]], ReplayResult]
NAMES = sorted(name for name in charts.__all__ if name.endswith("_chart"))


def shifted(observations: pa.Table) -> pa.Table:
    slower = pc.multiply(observations["latency_ns"], 2)
    return observations.set_column(observations.column_names.index("latency_ns"), "latency_ns", slower)


@pytest.fixture(scope="module")
def full(
    observations: pa.Table,
    fitted: Fit,
    analysis: Analysis,
    replay_of: ReplayOf,
    experiment: ExperimentReport,
    found: Regressions,
) -> Mapping[str, alt.LayerChart]:
    """Every chart with plenty to draw, by the name of its function."""
    comparison = perfkit.compare(observations, shifted(observations))
    capacity = perfkit.forecast(ladder=LADDER, demand=DEMAND, horizon=4, what_if="rate=2x")
    return {
        "comparison_chart": charts.comparison_chart(comparison),
        "coverage_chart": charts.coverage_chart(coverage_report()),
        "crossover_chart": charts.crossover_chart(observations, fitted.curves, EDGE),
        "demand_chart": charts.demand_chart(capacity.demand, capacity.limit, (DEMAND["time"], DEMAND["value"])),
        "effects_chart": charts.effects_chart(experiment.result),
        "latency_chart": charts.latency_chart(observations, fitted.curves),
        "looks_chart": charts.looks_chart(experiment),
        "power_chart": charts.power_chart(experiment),
        "profile_chart": charts.profile_chart(analysis.profiles["size"]),
        "ranges_chart": charts.ranges_chart(fitted.curves),
        "ratios_chart": charts.ratios_chart({"grpc_vs_uds": Estimate(12, 10, 15, 30, 3)}),
        "regressions_chart": charts.regressions_chart(found),
        "regret_chart": charts.regret_chart(replay_of(("tuned", "best_static", "always:uds"))),
        "sample_ratio_chart": charts.sample_ratio_chart(experiment),
        "scalability_chart": charts.scalability_chart(capacity.usl),
        "series_chart": charts.series_chart(found),
        "shifts_chart": charts.shifts_chart(experiment),
        "stages_chart": charts.stages_chart(analysis.stages_at()),
        "tails_chart": charts.tails_chart(analysis.percentiles),
        "utilisation_chart": charts.utilisation_chart(capacity.bottleneck, capacity.what_if),
    }


def coverage_report(n: int = 800) -> ModelReport:
    """Of a model whose intervals were judged on that many transfers."""
    slices = (("all", "all"), ("method", "uds"), ("size", "64KiB to 1MiB"), ("load", "1 in flight"))
    parts = tuple(SliceCoverage(*one, coverage=0.9 if n > 1 else 1.0, n=n) for one in slices)
    one = TargetReport("latency_ns", "curves", "", n, 4, None, 1.0, None, 0.1, parts)
    return ModelReport(0.9, (one,))


def no_comparison(observations: pa.Table) -> Comparison:
    compared = perfkit.compare(observations, observations)
    return dataclasses.replace(compared, scenarios=(), controls=())


def little_known(sessions: int) -> ExperimentReport:
    """An experiment of that many sessions with one transfer each."""
    variant = np.where(np.arange(sessions) % 2, "B", "A")
    frame = {"session": np.arange(sessions), "variant": variant, "latency_ns": 1e6 + np.arange(sessions)}
    return experiment_report(frame)


def meagre(observations: pa.Table, replay_of: ReplayOf) -> Iterator[tuple[str, alt.LayerChart]]:
    """Every chart with nothing, one method, one size, one send."""
    (nothing, one_method, one_size, one_send) = (
        observations.slice(0, 0),
        observations.filter(pc.field("method") == "uds"),
        observations.filter(pc.field("payload_bytes") == 2**20),
        observations.slice(0, 1),
    )
    curves = fit(one_method).curves
    for rows in (nothing, one_method, one_size, one_send):
        yield "latency_chart", charts.latency_chart(rows)
        yield "latency_chart", charts.latency_chart(rows, curves)
        yield "crossover_chart", charts.crossover_chart(rows, curves, EDGE)
    for rows in (one_method, one_size, one_send):
        analysis = analyse(rows)
        yield "tails_chart", charts.tails_chart(analysis.percentiles)
        yield "profile_chart", charts.profile_chart(analysis.profiles["size"])
        yield "stages_chart", charts.stages_chart(analysis.stages_at())
    yield "tails_chart", charts.tails_chart(())
    yield "profile_chart", charts.profile_chart(Profile("size", ()))
    yield "stages_chart", charts.stages_chart(())
    yield "ranges_chart", charts.ranges_chart(curves)
    yield "ranges_chart", charts.ranges_chart(CurveSet({}))
    yield "ratios_chart", charts.ratios_chart({})
    yield "ratios_chart", charts.ratios_chart({"a_vs_b": Estimate(2.0, 0.0, float("inf"), 1, 1)})
    yield "regret_chart", charts.regret_chart(None)
    yield "regret_chart", charts.regret_chart(dataclasses.replace(replay_of(("tuned",)), settings={}))
    yield "regret_chart", charts.regret_chart(replay_of(("tuned", "always:uds")))
    yield "coverage_chart", charts.coverage_chart(None)
    yield "coverage_chart", charts.coverage_chart(coverage_report(1))
    yield "demand_chart", charts.demand_chart(None)
    yield "scalability_chart", charts.scalability_chart(None)
    straight = perfkit.scalability([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], draws=100)
    yield "scalability_chart", charts.scalability_chart(straight)  # its peak is infinite
    short = perfkit.forecast(demand={name: values[:9] for name, values in DEMAND.items()}, horizon=1, limit=1e9)
    yield "demand_chart", charts.demand_chart(short.demand)
    yield "demand_chart", charts.demand_chart(short.demand, short.limit)
    yield "utilisation_chart", charts.utilisation_chart(short.bottleneck)
    yield "comparison_chart", charts.comparison_chart(no_comparison(observations))
    for known in (little_known(2), little_known(8)):
        yield "effects_chart", charts.effects_chart(known.result)
        for name in ("looks_chart", "power_chart", "sample_ratio_chart", "shifts_chart"):
            yield name, getattr(charts, name)(known)
    for values in ([5.0], [5.0, 7.0, 5.0], [5.0] * 30):
        judged = perfkit.regressions({"build": range(len(values)), "ms": values}, index="build", value="ms")
        yield "series_chart", charts.series_chart(judged)
        yield "series_chart", charts.series_chart(dataclasses.replace(judged, histories=()))
        yield "regressions_chart", charts.regressions_chart(judged)


def values_in(plain: Any, wanted: Callable[[str, Any], bool]) -> Iterator[Any]:
    """The values, however deep, whose name and value are wanted."""
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for name, value in pairs:
        if wanted(str(name), value):
            yield value
        yield from values_in(value, wanted)


def test_every_chart_is_held_to_this(full: Mapping[str, alt.LayerChart]) -> None:
    assert sorted(full) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_fills_its_place_says_how_to_read_it_and_needs_no_legend(name: str, full: Mapping[str, Any]) -> None:
    plain = full[name].to_dict()
    assert plain["width"] == "container"
    assert re.search(r"interval|95 ?%|fastest to the slowest", plain["description"])
    scaled = list(values_in(plain["layer"], lambda key, value: key in ("color", "shape") and "field" in str(value)))
    assert [one for one in scaled if one.get("legend", "") is not None and one.get("scale", "") is not None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_tells_on_how_much_it_rests(name: str, full: Mapping[str, Any]) -> None:
    tooltips = list(
        values_in(full[name].to_dict()["layer"], lambda key, value: key == "tooltip" and isinstance(value, list))
    )
    assert any(one["field"] == "n" for tooltip in tooltips for one in tooltip)


@pytest.mark.parametrize("name", NAMES)
def test_its_intervals_are_drawn(name: str, full: Mapping[str, Any]) -> None:
    """A layer that reaches from a lower to an upper bound."""
    ends = [
        {str(layer["encoding"].get(channel, {}).get("field", "")) for channel in channels}
        for layer in full[name].to_dict()["layer"]
        for channels in (("x", "x2"), ("y", "y2"))
    ]
    assert any(any("low" in one for one in pair) and any("high" in one for one in pair) for pair in ends)


@pytest.mark.parametrize("name", NAMES)
def test_its_methods_have_the_colours_of_the_theme(name: str, full: Mapping[str, Any]) -> None:
    scales = values_in(
        full[name].to_dict()["layer"],
        lambda key, value: (
            key == "color" and "method" in str(value.get("field", "")) if isinstance(value, dict) else False
        ),
    )
    for scale in (one["scale"] for one in scales):
        styles = method_styles(SIMPLICITY_ORDER)
        assert [styles[method].colour for method in scale["domain"]] == scale["range"]


@pytest.mark.parametrize("name", NAMES)
def test_a_logarithmic_axis_says_so_and_sizes_are_written_as_people_do(name: str, full: Mapping[str, Any]) -> None:
    for layer in full[name].to_dict()["layer"]:
        for channel in ("x", "y"):
            encoding = layer["encoding"].get(channel, {})
            if encoding.get("scale", {}).get("type") == "log":
                assert "(log scale)" in encoding["axis"]["title"]
                if "payload" in encoding["axis"]["title"]:
                    assert "KiB" in encoding["axis"]["labelExpr"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_drawn_on_a_telephone_and_in_the_dark(name: str, full: Mapping[str, Any]) -> None:
    svg = vl_convert.vegalite_to_svg({**full[name].to_dict(), "width": 360, "config": DARK_CONFIG})
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) <= 400
    assert not re.search(r"NaN|undefined|Infinity", svg)


def test_however_little_there_is_a_picture_or_a_sentence_comes_of_it(
    observations: pa.Table, replay_of: ReplayOf
) -> None:
    seen = set()
    for name, chart in meagre(observations, replay_of):
        plain = chart.to_dict()
        assert plain["width"] == "container"
        json.dumps(plain, allow_nan=False)
        seen.add(name)
    assert sorted(seen) == NAMES


def test_a_range_table_of_one_context_has_no_edge() -> None:
    assert charts.crossovers(compile_ranges(CurveSet({}), Context())) == ()


NO_RED, NO_GREEN, NO_BLUE = (
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
)
"""What people see who lack one kind of cones, in linear light: Machado, Oliveira and Fernandes (2009), severity 1."""


@pytest.mark.parametrize("seen", [np.eye(3), NO_RED, NO_GREEN, NO_BLUE], ids=["all", "red", "green", "blue"])
def test_methods_can_be_told_apart_by_everybody(seen: Any) -> None:
    """By colour alone where there is any, and by shape in any case."""
    styles = list(method_styles([*SIMPLICITY_ORDER, "mine"]).values())
    assert len({style.shape for style in styles}) == len(styles)
    colours = [lightness_and_hue(linear(style.colour) @ np.array(seen).T) for style in styles]
    distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(colours, 2)]
    assert min(distances) > 12


def linear(colour: str) -> Any:
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lightness_and_hue(light: Any) -> Any:
    """CIELAB, in which a distance of some 2 is just noticeable."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    relative = np.clip(np.array(to_xyz) @ light, 0, None) / [0.9505, 1.0, 1.089]
    f = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
