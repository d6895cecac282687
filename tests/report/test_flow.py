"""The order of a run, around notebooks that are not really executed: what goes on, what is left out, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nbformat
import pytest

from perfkit.errors import InputError
from perfkit.lake import open_lake
from perfkit.lake.pins import active_pins
from perfkit.report import run_pipeline
from perfkit.report.notebook.lake_versions import LakeVersions
from perfkit.report.notebook.records import RECORD_MIMETYPE, Record
from perfkit.report.results import NotebookResult, PipelineResult, read_run
from perfkit.report.running import one_notebook, runner
from perfkit.report.running.process import Limits, Outcome
from perfkit.report.running.steps import Step
from perfkit.report.site import notebook_page

WriteNotebook = Callable[[str, list[str]], Path]

SETTINGS = """\
[pipelines.nightly]
notebooks = ["10_benchmark", "30_tune"]
parameters = { preset = "quick" }
grid = { launches = [1, 2, 3] }
timeout = "90s"
memory_limit = "1GiB"
retries = 2
[pipelines.weekly]
notebooks = ["30_tune"]
[pipelines.weekly.notify.email]
to = ["a@example.org"]
sender = "b@example.org"
server = "localhost:25"
user = "b"
password_variable = "MAIL_PASSWORD"
"""


@pytest.fixture
def steps(
    write_notebook: WriteNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Step, Limits, int]]:
    """Every step that was run; one of 10_benchmark with `launches == 2` fails, with `launches == 9` is interrupted."""
    write_notebook("10_benchmark", [])
    write_notebook("30_tune", [])
    (tmp_path / "perfkit.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    made: list[tuple[Step, Limits, int]] = []

    def run_step(run: PipelineResult, step: Step, limits: Limits, retries: int, tell: Any) -> NotebookResult:
        made.append((step, limits, retries))
        tell(1, 0.5)
        launches = step.parameters.get("launches")
        status = {2: "timed out", 9: "interrupted"}.get(launches, "complete") if "10" in step.name else "complete"
        records = (Record("published version", launches or 0), Record("not published", "so it is"))
        return NotebookResult(step.name, status, 1.0, records=records, point=step.point, page=step.page)

    monkeypatch.setattr(runner, "run_step", run_step)
    return made


def test_other_points_of_the_grid_go_on_and_later_notebooks_do_not(steps: list[tuple[Step, Limits, int]]) -> None:
    run = run_pipeline("nightly")
    assert [one.status for one in run.notebooks] == ["complete", "timed out", "complete", *["not run"] * 3]
    assert (run.status, run.published_version, run.not_published) == ("timed out", 3, "so it is")
    assert not (run.report_path.parent / "latest").exists()
    assert {(limits, retries) for _, limits, retries in steps} == {
        (Limits(90.0, 2**30, frozenset({"MAIL_PASSWORD"})), 2)
    }
    assert run_pipeline("nightly", {"launches": "1"}, timeout_s=5).status == "complete"
    assert steps[-1][1].timeout_s == 5


def test_a_run_is_repeated_with_its_parameters_and_its_grid(
    steps: list[tuple[Step, Limits, int]], tmp_path: Path
) -> None:
    first = run_pipeline("nightly", {"preset": "full", "launches": "4"})
    assert first.parameters == {"preset": "full", "launches": "4"}
    (tmp_path / "perfkit.toml").write_text(SETTINGS.replace("[1, 2, 3]", "[5, 6]"))
    again = run_pipeline(again=first.report_path, parameters={"replay_budget_s": "1"})
    assert again.pipeline == "nightly"
    assert [step.parameters for step, _, _ in steps[-2:]] == [
        {"preset": "full", "launches": 4, "replay_budget_s": 1.0}
    ] * 2
    assert again.run_id > first.run_id
    with pytest.raises(InputError, match="is of pipeline nightly, not of quick"):
        run_pipeline("quick", again=first.report_path)

    (tmp_path / "perfkit.toml").write_text(SETTINGS)
    whole = run_pipeline("nightly")
    (tmp_path / "perfkit.toml").write_text(SETTINGS.replace("[1, 2, 3]", "[5, 6]"))
    assert [one.point for one in run_pipeline(again=whole.report_path).notebooks[:3]] == [
        {"launches": 1},
        {"launches": 2},
        {"launches": 3},
    ]


def test_an_interruption_ends_the_run_wherever_it_comes(
    steps: list[tuple[Step, Limits, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_pipeline("nightly", {"launches": "9"})

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline("nightly")
    folders = sorted(path.parent for path in (tmp_path / "reports").glob("*/run.json"))
    runs = [read_run(folder) for folder in folders]
    assert [run.status for run in runs] == ["interrupted", "interrupted"]
    assert [one.status for one in runs[1].notebooks] == ["interrupted", *["not run"] * 5]


@pytest.mark.parametrize("interrupted", ["git_revision", "collect_fingerprint", "set_space_aside"])
def test_a_run_that_cannot_begin_leaves_no_folder(
    steps: list[tuple[Step, Limits, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, interrupted, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline("nightly")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [".lock"]


def test_a_page_that_cannot_be_made_is_noted_and_one_that_finds_no_room_fails_the_notebook(
    write_notebook: WriteNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_notebook("30_tune", ["assert 1"])
    step = Step(source, "30_tune", {}, {}, {})
    run = PipelineResult("x", "tune", "running", "", 0.0, tmp_path, Path("t"), None, {}, "", ())
    monkeypatch.setattr(one_notebook, "run_process", lambda *_: nullcontext(Outcome("complete")))
    raised: list[Exception] = [TypeError("a mistake of ours"), OSError(28, "No space left on device")]

    def write_notebook_page(*_: object) -> None:
        raise raised.pop(0)

    monkeypatch.setattr(notebook_page, "write_notebook_page", write_notebook_page)
    noted = one_notebook.run_step(run, step, Limits(1.0), 0, lambda *_: None)
    assert noted.status == "complete"
    assert "its page could not be written: TypeError: a mistake of ours; the executed notebook is there" in noted.notes
    full = one_notebook.run_step(run, step, Limits(1.0), 0, lambda *_: None)
    assert (full.status, full.error) == ("failed", "[Errno 28] No space left on device")


def test_a_notebook_that_never_began_reports_nothing_that_a_person_saw_in_it_earlier(tmp_path: Path) -> None:
    output = nbformat.v4.new_output("display_data", data=Record("published version", 7)._repr_mimebundle_())
    cell = nbformat.v4.new_code_cell("record(…)", outputs=[output], execution_count=3)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "source.ipynb")
    read = one_notebook._read_executed(tmp_path / "absent.ipynb", tmp_path / "source.ipynb")
    assert [(one.source, one.outputs, one.execution_count) for one in read.cells] == [("record(…)", [], None)]


def test_an_odd_display_is_noted_and_a_mistake_of_ours_fails_the_notebook_alone(
    write_notebook: WriteNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = nbformat.v4.new_output("display_data", data={RECORD_MIMETYPE: {"later": 1}, "text/plain": "x"})
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1", outputs=[odd])])
    nbformat.write(executed, tmp_path / "30_tune.ipynb")
    step = Step(write_notebook("30_tune", ["assert 1"]), "30_tune", {}, {}, {})
    run = PipelineResult(
        "x", "tune", "running", "2026-11-20T12:00:00+00:00", 0.0, tmp_path, Path("t"), None, {}, "", ()
    )
    monkeypatch.setattr(one_notebook, "run_process", lambda *_: nullcontext(Outcome("complete")))
    noted = one_notebook.run_step(run, step, Limits(1.0), 0, lambda *_: None)
    assert (noted.status, noted.records) == ("complete", ())
    assert any("1 figure that it recorded cannot be read" in note for note in noted.notes)

    def read_records(notebook: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(one_notebook, "read_records", read_records)
    failed = one_notebook.run_step(run, step, Limits(1.0), 0, lambda *_: None)
    assert failed.status == "failed"
    assert "what it left could not be read: TypeError: a mistake of ours" in failed.error
    assert "a mistake of ours" in (tmp_path / "30_tune.html").read_text()


@pytest.mark.parametrize("page", ["30_tune", "Größe nach Methode", "x" * 200])
def test_what_a_notebook_read_is_pinned_whatever_its_name(tmp_path: Path, page: str) -> None:
    lake = open_lake(tmp_path / "lake")
    read = nbformat.v4.new_output("display_data", data=LakeVersions("lake", {"runs": 3})._repr_mimebundle_())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("open_recorded()", outputs=[read])])
    run = PipelineResult("20261120T120000Z-ab12", "x", "running", "", 0.0, tmp_path, Path("t"), None, {}, "", ())
    step = Step(tmp_path / "x.ipynb", page, {}, {}, {})
    assert one_notebook._pinned(NotebookResult("x", "complete"), run, step, notebook).notes == ()
    assert [one.versions for one in active_pins(lake)] == [{"runs": 3}]
