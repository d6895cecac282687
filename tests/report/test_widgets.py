"""Explorers draw again when a control moves, say when they cannot, and are plain pictures where nobody can move one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perfkit.learn import Fit, fit
from perfkit.report import explore_latency, explore_profile, explore_stages, explore_tails
from perfkit.report.bundles import bundle
from perfkit.report.widgets.controls import toggle
from perfkit.report.widgets.explorer import Explorer, View
from perfkit.workflows.analyse import analyse
from perfkit.workflows.analyse_result import Analysis


def spec_text(explorer: Explorer) -> str:
    return json.dumps(shown(explorer, "chart").spec)


def shown(explorer: Explorer, part: str) -> Any:
    """The part of the box that a page finds by its class."""
    css_class = f"perfkit-explorer-{part}"
    return next(one for one in explorer.widget.children if css_class in one._dom_classes)


def classes(explorer: Explorer) -> set[str]:
    return {name for control in explorer.controls.values() for name in control.widget._dom_classes}


def test_every_control_is_found_by_its_class(observations: pa.Table, fitted: Fit, tmp_path: Path) -> None:
    (tmp_path / "perfkit.toml").write_text('[pools.default]\n[pools.ml]\ngoal = "latency"\nmethods = ["uds", "grpc"]\n')
    several = pa.concat_tables([observations.append_column("in_flight", pa.array([n] * 1350)) for n in (1, 4)])
    explorer = explore_latency(several, fitted.curves, thresholds_path=tmp_path / "thresholds.toml")
    names = ("size-range", "methods", "signalling", "in-flight", "goal", "pool", "edge")
    assert classes(explorer) == {f"perfkit-{name}" for name in names}


@pytest.mark.parametrize(
    ("control", "value"),
    [("sizes", (2**12, 2**20)), ("methods", ("grpc",)), ("signalling", "grpc")],
)
def test_a_moved_control_changes_the_picture(observations: pa.Table, fitted: Fit, control: str, value: Any) -> None:
    explorer = explore_latency(observations, fitted.curves)
    before = spec_text(explorer)
    explorer.controls[control].value = value
    assert spec_text(explorer) != before


def test_an_edge_from_near_shows_single_sends_and_says_where_it_may_be(observations: pa.Table, fitted: Fit) -> None:
    explorer = explore_latency(observations, fitted.curves)
    edges = dict(explorer.controls["edge"].widget.options)
    explorer.controls["edge"].value = edges.popitem()[1]
    assert "uds gives way to shm_pool" in shown(explorer, "sentence").value
    assert '"round"' in spec_text(explorer)
    assert sum(len(rows) for rows in shown(explorer, "chart").spec["datasets"].values()) < 5000
    explorer.controls["methods"].value = ("grpc",)  # which has no edge
    assert list(dict(explorer.controls["edge"].widget.options)) == ["the whole range"]
    assert "grpc at every size" in shown(explorer, "sentence").value


def test_a_setting_without_a_choice_is_the_one_that_was_measured(observations: pa.Table) -> None:
    """Which need not be one in flight and announced over a socket."""
    over_grpc = observations.filter((pc.field("signalling") == "grpc") & (pc.field("method") != "grpc"))
    busy = over_grpc.append_column("in_flight", pa.array([16] * over_grpc.num_rows))
    fitted = fit(busy)
    explorer = explore_latency(busy, fitted.curves)
    assert not {"perfkit-signalling", "perfkit-in-flight"} & classes(explorer)
    assert "shm_pool" in shown(explorer, "sentence").value
    assert "uds → shm_pool at " in str(dict(explorer.controls["edge"].widget.options))
    assert "shm_pool (" in shown(explore_latency(busy), "sentence").value


def test_a_pool_brings_its_goal_and_methods(observations: pa.Table, fitted: Fit, tmp_path: Path) -> None:
    (tmp_path / "perfkit.toml").write_text('[pools.ml]\ngoal = "throughput"\nmethods = ["uds", "grpc"]\n')
    explorer = explore_latency(observations, fitted.curves, thresholds_path=tmp_path / "thresholds.toml")
    explorer.controls["pool"].value = "ml"
    assert (explorer.choices["goal"], explorer.choices["methods"]) == ("throughput", ("uds", "grpc"))
    assert "shm_pool" not in spec_text(explorer)


def test_nothing_chosen_is_a_sentence_and_can_be_taken_back(observations: pa.Table) -> None:
    explorer = explore_latency(observations)
    explorer.controls["methods"].value = ()
    assert "No transfer was measured" in spec_text(explorer)
    assert "No transfer was measured" in shown(explorer, "sentence").value
    explorer.controls["methods"].value = ("uds",)
    assert "No transfer was measured" not in spec_text(explorer)


def test_an_error_is_shown_and_the_picture_stays(observations: pa.Table) -> None:
    good = explore_latency(observations).view

    def draw(which: str) -> View:
        if which == "bad":
            raise ValueError("no <such> thing")
        return good

    explorer = Explorer({"which": toggle("which", {"good": "good", "bad": "bad"}, "good", "perfkit-which")}, draw)
    before = spec_text(explorer)
    explorer.controls["which"].value = "bad"
    assert "ValueError: no &lt;such&gt; thing" in shown(explorer, "error").value
    assert shown(explorer, "error").layout.display == ""
    assert spec_text(explorer) == before
    explorer.controls["which"].value = "good"
    assert shown(explorer, "error").layout.display == "none"


@pytest.mark.parametrize("explore", [explore_tails, explore_profile])
def test_an_analysis_is_looked_at_method_by_method(explore: Callable[[Analysis], Explorer], analysis: Analysis) -> None:
    explorer = explore(analysis)
    assert '"uds"' in spec_text(explorer)
    explorer.controls["methods"].value = ("grpc",)
    assert '"uds"' not in spec_text(explorer)
    assert "grpc" in shown(explorer, "sentence").value


def test_stages_are_looked_at_size_by_size(analysis: Analysis) -> None:
    explorer = explore_stages(analysis)
    assert "payload of 1MiB" in str(explorer)
    explorer.controls["payload_bytes"].value = 2**24
    assert "payload of 16MiB" in shown(explorer, "sentence").value


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed, in its order."""
    found: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *shown: found.extend(shown))
    return found


def test_a_person_gets_the_controls(
    observations: pa.Table, displayed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERFKIT_REPORT", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "20_analysis.ipynb")
    explorer = explore_latency(observations)
    explorer._ipython_display_()
    assert displayed == [explorer.widget]


def test_a_report_gets_the_picture_and_its_sentence(
    observations: pa.Table, displayed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFKIT_REPORT", "1")
    explorer = explore_latency(observations)
    explorer._ipython_display_()
    assert displayed == [explorer.view.chart, explorer.view.verdict]
    assert "The lowest median of the launches" in str(explorer)


def test_a_chart_carries_the_drawing_library_once_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made again where nothing is kept; from then on, reading it is all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = "window.mine = vegaEmbed;"
    made = bundle.__wrapped__(source)
    assert len(made) > 100_000
    (kept,) = tmp_path.rglob("charts-*.js")
    assert kept.read_text() == made
    changed = made.replace("window.mine", "window.yours")
    kept.write_text(changed)
    assert bundle.__wrapped__(source) == changed
    for damaged in (made[:1000], ""):
        kept.write_text(damaged)
        assert bundle.__wrapped__(source) == kept.read_text() == made


def test_with_nothing_to_look_at_explorers_say_so(observations: pa.Table) -> None:
    for rows in (observations.slice(0, 0), observations.slice(0, 1)):
        assert explore_latency(rows).widget
    analysis = analyse(observations.slice(0, 1))
    assert "No method has rows enough" in str(explore_tails(analysis))
    assert "No method and size has rows enough" in str(explore_profile(analysis))
    assert "next to nothing" in str(explore_stages(analysis))
    assert "perfkit bench" in str(explore_stages(dataclasses.replace(analysis, stage_shares=())))
