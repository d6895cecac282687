"""A headline figure is shown, kept in the notebook, and read back."""

from __future__ import annotations

import json
from collections.abc import Callable

import nbformat
import pytest

from perfkit.errors import InputError
from perfkit.learn import CompositionError, Fit
from perfkit.report import headlines, record_headlines
from perfkit.report.notebook.records import RECORD_MIMETYPE, Record, read_records
from perfkit.workflows.analyse_result import Analysis
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
    assert {"uds up to", "transfers", "uds: even at", "uds: p95", "regret, uds", "composition error"} <= set(names)
    assert headlines(fitted) == headlines(fitted.ranges())
    assert [str(one) for one in headlines(fitted)][:2] == ["taken at 1KiB: uds", "taken at 1MiB: shm_pool"]


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
