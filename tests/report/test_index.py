"""The index lists every run, whatever state it is in."""

from __future__ import annotations

from pathlib import Path

from perfkit.report.notebook.records import Record
from perfkit.report.results import RUN_FILE, NotebookResult, PipelineResult, write_run
from perfkit.report.site.index import write_index


def keep_run(folder: Path, run_id: str, status: str, *, name: str = "", error: str = "") -> None:
    run = PipelineResult(
        run_id=run_id,
        pipeline="quick",
        status=status,
        started_at="2026-11-20T21:04:00+00:00",
        seconds=61.5,
        report_path=folder / (name or run_id),
        thresholds_path=folder / "thresholds.toml",
        published_version=None,
        parameters={},
        git_revision="abc1234",
        notebooks=(NotebookResult("10_benchmark", status, 61.5, error, (Record("edge", 98_304.0, unit="bytes"),)),),
    )
    run.report_path.mkdir()
    write_run(run)


def index_of(folder: Path) -> str:
    write_index(folder)
    return (folder / "index.html").read_text()


def test_without_a_run_it_says_how_to_get_one(tmp_path: Path) -> None:
    assert "perfkit run" in index_of(tmp_path)


def test_runs_are_newest_first_with_their_figures_and_failures(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete")
    keep_run(tmp_path, "20260102", "failed", error="ValueError: <broken>")
    text = index_of(tmp_path)
    assert text.index("20260102") < text.index("20260101")
    assert 'href="20260101/10_benchmark.html"' in text
    assert "ValueError: &lt;broken&gt;" in text
    assert "96KiB" in text
    assert "61.5s" in text


def test_latest_and_copies_are_not_listed_again(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete")
    keep_run(tmp_path, "20260103", "complete", name="sample")
    (tmp_path / "latest").symlink_to("20260101")
    text = index_of(tmp_path)
    assert text.count('class="status') == 1
    assert "20260103" not in text


def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete")
    (tmp_path / "20260102").mkdir()
    (tmp_path / "20260102" / RUN_FILE).write_text("{")
    text = index_of(tmp_path)
    assert "20260101/10_benchmark.html" in text
    assert "Not readable: 20260102" in text
