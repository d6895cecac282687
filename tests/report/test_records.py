"""A headline figure is shown, kept in the notebook, and read back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import nbformat
import pyarrow as pa
import pytest

from perfkit.errors import InputError
from perfkit.learn import CompositionError, Fit
from perfkit.report import headlines, record_headlines
from perfkit.report.notebook.records import RECORD_MIMETYPE, Record, read_records
from perfkit.report.site.changes import figure_change
from perfkit.stats.hierarchical import Estimate
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.bench_result import BenchResult
from perfkit.workflows.replay_result import ReplayResult


def notebook_with(*records: Record) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", data=one._repr_mimebundle_()) for one in records]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("record(…)", outputs=outputs)])


def test_records_survive_the_notebook_file() -> None:
    records = (Record("edge", 98_304.0, 65_536, 131_072, "bytes", "measured"), Record("winner", "uds"))
    text = nbformat.writes(notebook_with(*records))
    assert read_records(nbformat.reads(text, as_version=4)) == records


def test_other_outputs_are_no_records() -> None:
    notebook = notebook_with()
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="hello")]
    assert read_records(notebook) == ()


@pytest.mark.parametrize(
    "odd", [{"name": "edge", "value": 1.0, "later": 1}, {"name": "edge"}, ["edge"], {"name": "edge", "value": [1]},
            {"name": "edge", "value": 1.0, "unit": ["ns"]}, {"name": "edge", "value": 1.0, "low": "0"}]
)  # fmt: skip
def test_what_is_no_record_is_left_out(odd: object) -> None:
    notebook = notebook_with(Record("winner", "uds"))
    notebook.cells[0].outputs.insert(0, nbformat.v4.new_output("display_data", data={RECORD_MIMETYPE: odd}))
    assert read_records(notebook) == (Record("winner", "uds"),)


def test_figures_are_shown_in_their_unit() -> None:
    assert str(Record("edge", 98_304.0, 65_536, 131_072, "bytes")) == "edge: 96KiB (64KiB to 128KiB)"
    assert str(Record("ratio", 1.04, 0.97, 1.12, "x", "at the limit")) == "ratio: 1.04× (0.97× to 1.12×), at the limit"
    assert str(Record("observations", 1_040)) == "observations: 1,040"
    assert Record("tail", 6.67, 9.02e-05, 493_187.0, "x").interval_text == "under 0.001× to 493,000×"


def test_text_cannot_break_the_page() -> None:
    assert "<b>" not in Record("<b>", "<b>", verdict="<b>")._repr_mimebundle_()["text/html"]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InputError, match="unit == 'parsecs'"):
        Record("distance", 1.0, unit="parsecs")


def test_an_interval_without_an_end_is_kept_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    from perfkit.report import record

    record("edge", 98_304.0, 0.0, float("inf"), unit="bytes")
    assert "edge: 96KiB" in capsys.readouterr().out


def test_a_record_is_plain_json() -> None:
    bundle = Record("edge", 98_304.0, unit="bytes")._repr_mimebundle_()
    assert json.loads(json.dumps(bundle[RECORD_MIMETYPE], allow_nan=False))["value"] == 98_304.0


def test_results_have_headline_figures_each_under_one_name(
    fitted: Fit, analysis: Analysis, replay_of: Callable[[tuple[str, ...]], ReplayResult]
) -> None:
    replay = replay_of(("tuned",))
    error = CompositionError(0.1, 0.2, 12, ())
    names = [one.name for result in (fitted, analysis, replay, error) for one in headlines(result)]
    assert len(set(names)) == len(names)
    of_analysis = {"transfers", "uds: fixed cost equals bytes at", "uds: p95 over the median"}
    assert {"uds up to", "regret, uds", "composition error, median"} | of_analysis <= set(names)
    assert headlines(fitted) == headlines(fitted.ranges())


def test_verdicts_say_what_the_intervals_mean(fitted: Fit, analysis: Analysis) -> None:
    first, last = fitted.ranges()
    records = {one.name: one for one in (*headlines(fitted), *headlines(analysis), *headlines(run_with(RATIOS)))}
    verdicts = {name: one.verdict for name, one in records.items()}
    assert verdicts["taken at 1KiB"] == "surely uds"
    assert verdicts["taken at 1MiB"] == "surely shm_pool"
    assert verdicts["uds up to"] == "sharp"
    assert verdicts["uds: p95 over the median"] == "precise"
    assert verdicts["uds: fixed cost equals bytes at"] == "sharp"
    assert [verdicts[name] for name in RATIOS] == ["clearly above 1", "clearly below 1", "not clearly off 1", "vague"]
    assert (records["lost"].low, records["lost"].high) == (None, None)

    wide = dataclasses.replace(first)
    vars(wide)["crossover"] = (500.0, 50_000.0)  # in the place of what the evidence says
    verdicts = {one.name: one.verdict for one in headlines((wide, last))}
    assert (verdicts["uds up to"], verdicts["taken at 1KiB"]) == ("blurred", "close to an edge")


def test_another_method_at_a_size_is_another_verdict(fitted: Fit) -> None:
    first, last = fitted.ranges()
    (before, *_), (after, *_) = headlines((first, last)), headlines((dataclasses.replace(first, method="grpc"), last))
    assert figure_change("30_tune", "30_tune", before, after).verdict == "verdict changed: surely uds → surely grpc"
    assert not figure_change("30_tune", "30_tune", before, before).has_other_verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict", "interval"),
    [
        (0.9e6, 1.2e6, "precise", "900us to 1.2ms"),
        (0.4e6, 2.5e6, "rough", "400us to 2.5ms"),
        (3e-7, 1.21e10, "vague", ""),
        (0.0, math.inf, "vague", ""),
    ],
)
def test_a_median_whose_interval_says_nothing_has_none(low: float, high: float, verdict: str, interval: str) -> None:
    setting = {"stage": "transport", "temperature": "warm", "placement": "copied", "touched": False, "in_flight": 1}
    summary = SimpleNamespace(
        **setting, signalling="uds", method="uds", payload_bytes=1024, latency_ns=Estimate(1e6, low, high, 30, 3)
    )
    record = next(one for one in headlines(run_with({}, summary)) if one.name == "uds at 1KiB: median")
    assert (record.verdict, record.interval_text) == (verdict, interval)


def test_a_fixed_cost_that_bytes_never_reach_is_said_in_words(analysis: Analysis) -> None:
    never = dataclasses.replace(analysis.dominance[0], even_bytes=math.inf, even_high=math.inf)
    record = headlines(dataclasses.replace(analysis, dominance=(never,)))[1]
    assert (record.value, record.verdict) == ("no size", "the fixed cost dominates")


RATIOS = {
    "far": Estimate(65, 59, 71, 45, 5),
    "gained": Estimate(0.5, 0.4, 0.6, 45, 5),
    "near": Estimate(1.02, 1.01, 1.04, 45, 5),
    "lost": Estimate(6.67, 9e-5, 5e5, 45, 5),
}


def run_with(ratios: dict[str, Estimate], *summaries: Any) -> BenchResult:
    run = object.__new__(BenchResult)  # the measured rest has no part in this
    values = {"observations": pa.table({"n": [1]}), "launches": 3, "seconds": 1.0, "status": "complete"}
    for name, value in (values | {"ratios": ratios, "summaries": summaries}).items():
        object.__setattr__(run, name, value)
    return run


def test_a_method_that_is_taken_twice_has_two_edges(fitted: Fit) -> None:
    first, last = fitted.ranges()
    names = [one.name for one in headlines((first, last, first, last))]
    assert names[2:] == ["uds up to", "uds up to (range 2)"]


def test_headlines_are_recorded_once(fitted: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    record_headlines(fitted, None)
    assert "uds up to" in capsys.readouterr().out
    with pytest.raises(InputError, match="uds up to is recorded twice"):
        record_headlines(fitted, fitted)
    with pytest.raises(InputError, match="of type int has no headline figures; these have: Analysis, BenchResult"):
        record_headlines(3)
