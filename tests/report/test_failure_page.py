"""The page of a notebook that did not complete is understood by somebody who did not write it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from perfkit.report.notebook.records import Record
from perfkit.report.results import NotebookResult, PipelineResult, write_run
from perfkit.report.site.notebook_page import write_notebook_page
from perfkit.report.site.writing import write_site

TITLE = nbformat.v4.new_markdown_cell("# Which one?")
LATER = nbformat.v4.new_markdown_cell("## What comes later")


def raising(name: str, value: str, lines: int, source: str = "draw(it)") -> nbformat.NotebookNode:
    traceback = [f"\x1b[31mline {number}\x1b[39m" for number in range(lines)]
    error = nbformat.v4.new_output("error", ename=name, evalue=value, traceback=traceback)
    return nbformat.v4.new_code_cell(source, execution_count=4, outputs=[error])


def under_way(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"papermill": {"status": "running"}})


def page_of(folder: Path, result: NotebookResult, *cells: Any, run_id: str = "20260102", **facts: Any) -> str:
    """The page of a notebook in a run with another notebook, and another point of its grid, to come."""
    waiting = (NotebookResult(result.name, "not run", page="other"), NotebookResult("30_tune", "not run"))
    plain: dict[str, Any] = {"installed": {"perfkit": "0.1.0"}, "fingerprint": {"cpu": "EPYC"}, **facts}
    run = PipelineResult(
        run_id=run_id,
        pipeline="nightly",
        status="running" if result.status != "complete" else "complete",
        started_at=f"2026-01-{run_id[-2:]}T03:00:00+00:00",
        seconds=9.0,
        report_path=folder / run_id,
        thresholds_path=folder / "thresholds.toml",
        published_version=None,
        parameters={},
        git_revision="",
        notebooks=(result, *waiting) if result.status != "complete" else (result,),
        **plain,
    )
    run.report_path.mkdir(exist_ok=True)
    write_run(run)
    write_notebook_page(run, result, nbformat.v4.new_notebook(cells=[TITLE, *cells]), {})
    return (run.report_path / f"{result.page_name}.html").read_text()


def text_of(page: str) -> str:
    """What a reader sees, without style and markup."""
    body = page.partition("<main")[2].partition("<footer")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_an_error_is_told_with_its_cell_and_what_did_not_run(tmp_path: Path) -> None:
    failed = NotebookResult("20_analysis", "failed", 3.0, "ValueError: no <such> size", attempts=2)
    page = page_of(tmp_path, failed, raising("ValueError", "no <such> size", 40), LATER)
    told = text_of(page)
    assert "Cell 4 raised an error; the cells after it were not run. It was tried 2 times." in told
    assert "Not run because of it: 30_tune." in told
    assert "This report has no good run yet" in told
    assert f"perfkit run --again {tmp_path.name}/20260102" in told
    assert "draw(it)" in told
    assert "What comes later" not in told
    assert '<a href="#failed-cell">' in page
    assert "<details><summary>Traceback, 40 lines" in page
    assert "\x1b" not in page


def test_a_short_traceback_is_open_and_a_failed_assertion_is_named_as_a_check(tmp_path: Path) -> None:
    failed = NotebookResult("20_analysis", "failed", 3.0, "AssertionError: no row")
    page = page_of(tmp_path, failed, raising("AssertionError", "no row", 4, "assert rows"))
    assert re.search(r'<details open(="")?><summary>Traceback, 4 lines', page)
    assert "Cell 4 checks what the notebook produced" in text_of(page)


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        ("timed out", "Stopped after 60 s: `perfkit` <x>", "It took longer than it may"),
        ("out of memory", "Over 2GiB: `perfkit`", "It took more memory than there is for it"),
        ("interrupted", "Interrupted after 5 s: `perfkit`", "Nothing is wrong with the notebook"),
        ("failed", "Its kernel died: `perfkit`", "The process behind the notebook ended in the middle of it"),
    ],
)
def test_what_stopped_a_notebook_is_told_in_plain_words(tmp_path: Path, status: str, error: str, told: str) -> None:
    page = page_of(tmp_path, NotebookResult("20_analysis", status, 3.0, error), under_way("wait()"), LATER)
    assert told in text_of(page)
    assert error.partition(":")[0] in text_of(page)
    assert "<x>" not in page
    assert "<code>perfkit</code>" in page
    assert "Cell 1, which was under way" in text_of(page)
    assert "wait()" in text_of(page)


def test_a_notebook_that_never_began_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "20260102").mkdir()
    (tmp_path / "20260102" / "20_analysis.log").write_text("".join(f"line <{number}>\n" for number in range(100)))
    page = page_of(tmp_path, NotebookResult("20_analysis", "failed", 3.0, "no kernel"), LATER)
    assert "line &lt;99&gt;" in page
    assert "line &lt;79&gt;" not in page
    assert "Go to the end of its log" in text_of(page)
    assert "No kernel" in text_of(page)
    assert "ended in the middle" not in text_of(page)  # nothing had begun


def test_the_last_good_run_is_linked_by_the_same_notebook(tmp_path: Path) -> None:
    page_of(tmp_path, NotebookResult("20_analysis", "complete", 3.0), run_id="20260101")
    failed = NotebookResult("20_analysis", "failed", 3.0, "ValueError: x")
    page = page_of(tmp_path, failed, raising("ValueError", "x", 4))
    assert '<a href="../20260101/20_analysis.html">2026-01-01 03:00 UTC</a>' in page
    write_site(tmp_path)
    file = tmp_path / "20260102" / "20_analysis.html"
    assert file.read_text() == page
    shutil.rmtree(tmp_path / "20260101")
    write_site(tmp_path)
    assert "Last good run: 2026-01-01 03:00 UTC, no longer kept</li>" in file.read_text()


def test_names_of_notebooks_are_encoded_in_links(tmp_path: Path) -> None:
    name = "C# 50%"
    page_of(tmp_path, NotebookResult(name, "complete", 3.0), run_id="20260101")
    (tmp_path / "20260102").mkdir()
    (tmp_path / "20260102" / f"{name}.log").write_text("a line\n")
    page = page_of(tmp_path, NotebookResult(name, "failed", 3.0, "ValueError: x"), raising("ValueError", "x", 4))
    write_site(tmp_path)
    page += (tmp_path / "20260102" / "index.html").read_text()
    links = {link for link in re.findall(r'href="([^"#]+)"', page) if "%23" in link or "C#" in link or "50%" in link}
    assert links == {"../20260101/C%23%2050%25.html", "C%23%2050%25.html", "C%23%2050%25.log"}


def test_what_changed_links_to_no_page_that_may_be_gone(tmp_path: Path) -> None:
    for run_id, name in (("20260101", "10_benchmark"), ("20260102", "30_tune")):
        page = page_of(tmp_path, NotebookResult(name, "complete", records=(Record("n", 4),)), run_id=run_id)
    write_site(tmp_path)
    assert 'href="../compare.html#a=20260101&amp;b=20260102"' in page
    assert "../20260101/" not in page


def test_a_good_page_says_what_changed_since_the_last_good_run(tmp_path: Path) -> None:
    before = NotebookResult("30_tune", "complete", records=(Record("edge", 10, 9, 11), Record("n", 4)))
    after = NotebookResult("30_tune", "complete", records=(Record("edge", 20, 18, 22), Record("n", 4)))
    first = page_of(tmp_path, before, run_id="20260101")
    assert "Since the run" not in first
    second = page_of(tmp_path, after, fingerprint={"cpu": "Xeon"})
    told = text_of(second)
    assert "Since the run of 2026-01-01 03:00 UTC 1 of 2 figures changed: edge (10 → 20, +100%)." in told
    assert "Hard to compare. Another host: CPU EPYC → Xeon." in told
    assert second.index("<h1") < second.index('class="since"') < second.index("How this page was made")
