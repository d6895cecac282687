"""`perfkit reports`: what it prints, asks, refuses, and its exit codes."""

from __future__ import annotations

import io
import webbrowser
from pathlib import Path

import click
import pytest

from perfkit.cli.reports import reports_command
from perfkit.report.notebook.records import Record
from perfkit.report.results import NotebookResult, PipelineResult, write_run

FIRST, SECOND, FAILED = "20260101T030000Z-aaaa", "20260102T030000Z-bbbb", "20260103T030000Z-cccc"


@pytest.fixture(autouse=True)
def three_runs(perfkit):
    """In reports/ of the folder that the commands run in: two good ones whose edge differs, and a failed one."""
    folder = Path("reports").resolve()
    edges = {FIRST: Record("edge", 10, 9, 11), SECOND: Record("edge", 20, 18, 22), FAILED: None}
    for day, (run_id, edge) in enumerate(edges.items(), start=1):
        status, error = ("complete", "") if edge else ("failed", "ValueError: broken\nmore")
        notebook = NotebookResult("30_tune", status, 9.0, error, (edge,) if edge else ())
        start = f"2026-01-0{day}T03:00:00+00:00"
        place, thresholds = folder / run_id, folder.parent / "thresholds.toml"
        place.mkdir(parents=True)
        write_run(PipelineResult(run_id, "tune", status, start, 9.0, place, thresholds, None, {}, "", (notebook,)))
    return folder


def test_reports_are_listed_newest_first_with_their_errors(perfkit):
    outcome = perfkit("reports")
    assert outcome.exit_code == 0
    assert outcome.stdout.index(FAILED) < outcome.stdout.index(SECOND) < outcome.stdout.index(FIRST)
    assert "30_tune: ValueError: broken" in outcome.stdout
    listed = perfkit("reports", "list", "--all", "--json").json()
    assert [one["run"] for one in listed["runs"]] == [FAILED, SECOND, FIRST]
    assert listed["runs"][0]["errors"] == ["30_tune: ValueError: broken"]


def test_a_report_is_shown_with_what_changed(perfkit, three_runs):
    assert "1 of 1 figure changed: edge (10 → 20, +100%)" in perfkit("reports", "show").stdout
    shown = perfkit("reports", "show", f"reports/{SECOND}", "--json").json()
    assert (shown["run_id"], shown["changes"]["before"]) == (SECOND, FIRST)
    assert perfkit("reports", "show", "20260101", "--json").json()["changes"] is None


def test_two_reports_are_compared(perfkit):
    compared = perfkit("reports", "compare", SECOND, FIRST, "--json").json()
    assert [one["kind"] for one in compared["figures"]] == ["changed"]
    assert "-50%" in perfkit("reports", "compare", SECOND, FIRST).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "2026"), "could be any of 3"),
        (("show", "nothing"), "unknown run 'nothing'"),
        (("compare", "nothing"), "unknown run 'nothing'"),
        (("open", "20270101"), "unknown run"),
        (("list", "--reports", "elsewhere"), "there is no folder elsewhere"),
        (("clean", "--keep-runs", "1", "--json"), "give it together with --yes or --dry-run"),
        (("clean", "--settings", "none.toml", "--dry-run"), "none.toml"),
        (("frobnicate",), "unknown command of `perfkit reports` 'frobnicate'"),
    ],
)
def test_what_cannot_be_meant_is_refused(perfkit, arguments, message):
    outcome = perfkit("reports", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_the_index_is_written_and_a_page_is_found(perfkit, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert perfkit("reports", "open").exit_code == 1  # there is no page yet
    assert perfkit("reports", "index", "--json").json() == {"index": "reports/index.html", "pages": 3}
    page = perfkit("reports", "open").stdout.strip()
    assert page.endswith(f"{SECOND}/index.html")
    assert Path(page).is_file()
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    perfkit("reports", "open", "index")
    assert [address.rpartition("/")[2] for address in opened] == ["index.html"]


def test_reports_over_a_limit_are_removed_after_asking(perfkit, three_runs, monkeypatch):
    Path("perfkit.toml").write_text('[pipelines.tune]\nnotebooks = ["30_tune"]\nkeep_runs = 2\n')
    would = perfkit("reports", "clean", "--dry-run", "--json").json()
    assert [one["run_id"] for one in would["would_remove"]] == [FIRST]
    for answer in ("n", ""):  # Enter alone is no
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
        declined = perfkit("reports", "clean")
        assert (declined.exit_code, declined.stderr) == (0, "")
        assert declined.stdout.endswith("Nothing was removed.\n")
    assert (three_runs / FIRST).exists()
    assert perfkit("reports", "clean", "--yes", "--json").json()["removed"] == [FIRST]
    assert not (three_runs / FIRST).exists()
    assert FIRST not in (three_runs / "index.html").read_text()


@pytest.mark.parametrize("name", reports_command.commands)
def test_every_command_is_explained_and_takes_json(perfkit, name):
    command = reports_command.commands[name]
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
    assert any("--json" in parameter.opts for parameter in command.params)
    assert "Usage" in perfkit("reports", name, "--help").stdout
