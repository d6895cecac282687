"""The site of reports in a browser without network: readable, reachable by keyboard, right in what it compares."""

from __future__ import annotations

import datetime
import importlib.resources
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from perfkit.config.curves import CurveSet
from perfkit.report import ranges_chart
from perfkit.report.notebook.records import Record
from perfkit.report.notebook.rendering import chart_figure
from perfkit.report.results import NotebookResult, PipelineResult, write_run
from perfkit.report.site.changes import RunChanges, changes_between
from perfkit.report.site.changes_view import changes_html
from perfkit.report.site.notebook_page import write_notebook_page
from perfkit.report.site.writing import write_site
from perfkit.tables import ResultTable

pytestmark = pytest.mark.browser

DAY = datetime.timedelta(days=1)
SCHEDULE = '[pipelines.nightly]\nnotebooks = ["20_analysis", "30_tune"]\nschedule = "0 3 * * *"\n'
AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
FIND = "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"

EARLIER = (
    Record("uds up to", 49_152.0, 40_000, 60_000, "bytes", "sharp"),
    Record("tail of grpc", 2.1, 1.9, 2.4, "x", "of the median"),
    Record("cost on lately", 0.93, 0.9, 0.97, "x", "better"),
    Record("median at 1 KiB", 12_300, 11_900, 12_800, "ns"),
    Record("transfers", 4_800),
    Record("same", 4, 3, 5),
    Record("edge", 1.0, 1.0, 1.0),
    Record("edge", 8, 7, 9),
    Record("constructor", 3, 2, 4, "x"),
    Record("halves", 8, 8, 8),
    Record("none yet", 0, 0, 1),
    Record("unit", 5, unit="ns"),
    Record("winner", "uds <b>"),
    Record("dropped", 1),
)
LATER = (
    Record("uds up to", 98_304.0, 80_000, 120_000, "bytes", "blurred"),
    Record("tail of grpc", 2.2, 2.0, 2.5, "x", "of the median"),
    Record("cost on lately", 1.01, 0.96, 1.05, "x", "equivalent"),
    Record("median at 1 KiB", 10_900, 10_500, 11_400, "ns"),
    Record("transfers", 4_811),
    Record("same", 4, 3, 5),
    Record("edge", 40.0, 30.0, 55.0),
    Record("edge", 8, 7, 9.5),
    Record("constructor", 3.5, 2, 4, "x"),
    Record("halves", 9, 9, 9),
    Record("none yet", 2, 1.5, 3),
    Record("unit", 5, unit="bytes"),
    Record("winner", "shm_pool"),
    Record("fresh", 1, 0, 2),
)


class Site(SimpleNamespace):
    """A folder of reports: three good runs, a failed, a timed out, and a lost one."""

    folder: Path
    runs: dict[str, PipelineResult]


def keep(folder: Path, run_id: str, days: float, *notebooks: NotebookResult, **facts: Any) -> PipelineResult:
    started = datetime.datetime.now(datetime.UTC) - days * DAY
    ended = [one.status for one in notebooks if one.status not in ("complete", "not run")]
    plain: dict[str, Any] = {
        "status": ended[0] if ended else "complete",
        "parameters": {"preset": "quick", "dry_run": False},
        "fingerprint": {"cpu": "EPYC", "kernel": "6.12", "perfkit": "0.1.0"},
        "installed": {"perfkit": "0.1.0", "polars": "1.20"},
        **facts,
    }
    run = PipelineResult(
        run_id=run_id,
        pipeline="nightly",
        started_at=started.isoformat(timespec="seconds"),
        seconds=184.0,
        report_path=folder / run_id,
        thresholds_path=folder.parent / "thresholds.toml",
        published_version=None,
        git_revision="abc1234",
        notebooks=notebooks,
        started_by="schedule",
        **plain,
    )
    run.report_path.mkdir(parents=True)
    write_run(run)
    return run


def raised(source: str, depth: int) -> nbformat.NotebookNode:
    """A cell that raised, with a traceback of `depth` lines in colours."""
    lines = [f"\x1b[31mline {number}\x1b[39m of <module>" for number in range(depth)]
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no <such> size", traceback=lines)
    return nbformat.v4.new_code_cell(source, execution_count=3, outputs=[error])


def notebook_of(*cells: Any) -> nbformat.NotebookNode:
    title = nbformat.v4.new_markdown_cell("# Which method should carry it?\n\nA lead.")
    return nbformat.v4.new_notebook(cells=[title, nbformat.v4.new_markdown_cell("## The choice"), *cells])


def shown(*parts: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": part}) for part in parts]
    return nbformat.v4.new_code_cell("show()", outputs=outputs)


@pytest.fixture(scope="module")
def site(make_curves: Callable[..., CurveSet], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("project") / "reports"
    folder.mkdir()
    (folder.parent / "perfkit.toml").write_text(SCHEDULE)
    os.utime(folder.parent / "perfkit.toml", (0, 0))  # that schedule has long held
    figure = chart_figure(ranges_chart(make_curves()).to_dict())
    table = ResultTable("A wide table", tuple("abcdefgh"), (("a cell with some words",) * 8,)).to_html()
    record = EARLIER[0]._repr_mimebundle_()["text/html"]
    good = notebook_of(shown(figure, table, record))
    analysis = NotebookResult("20_analysis", "complete", 60.0, records=(Record("transfers", 480),), own_seconds=55.0)
    first = NotebookResult("30_tune", "complete", 90.0, "", EARLIER, {"transfers": 7})
    second = NotebookResult("30_tune", "complete", 91.0, "", LATER, {"transfers": 9}, attempts=2, notes=("A note.",))
    failed = NotebookResult("20_analysis", "failed", 3.0, "ValueError: no <such> size " + "a_long_word" * 30)
    slow = NotebookResult("20_analysis", "timed out", 60.0, "stopped after 60 s", attempts=1)
    not_run = NotebookResult("30_tune", "not run")
    changed: dict[str, Any] = {
        "parameters": {"preset": "full", "dry_run": False, "launches": 5, "constructor": 'a "b"'},
        "fingerprint": {"cpu": "unknown", "kernel": "6.18", "perfkit": "0.2.0"},
        "installed": {"perfkit": "0.2.0", "polars": "1.20", "numpy": "2.1"},
    }
    runs = {
        "first": keep(folder, "20260101T030000Z-aaaa", 9, analysis, first),
        "second": keep(folder, "20260102T030000Z-bbbb", 8, analysis, second, **changed),
        "failed": keep(folder, "20260103T030000Z-cccc", 7, failed, not_run),
        "slow": keep(folder, "20260104T030000Z-dddd", 6, slow, not_run),
        "lost": keep(folder, "20260105T030000Z-eeee", 5, not_run, status="running"),
        "third": keep(folder, "20260106T030000Z-ffff", 4, analysis, first),
    }
    for name in ("first", "second", "third"):
        for notebook in runs[name].notebooks:
            write_notebook_page(runs[name], notebook, good, {"preset": "quick"})
    write_notebook_page(runs["failed"], failed, notebook_of(raised("size = parse('x')", 60)), {})
    under_way = nbformat.v4.new_code_cell("wait_for_ever()", metadata={"papermill": {"status": "running"}})
    write_notebook_page(runs["slow"], slow, notebook_of(shown("<p>until then</p>"), under_way), {})
    write_site(folder)
    return Site(folder=folder, runs=runs)


@pytest.fixture
def open_page(browser: Any, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open a page without network; afterwards nothing was asked for elsewhere, and nothing was complained about."""
    contexts, complaints, asked = [], [], []

    def opened(path: Path, width: int = 1280, scheme: str = "light", **more: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **more
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.querySelectorAll('.perfkit-chart:not([data-drawn])').length === 0")
        return page

    yield opened
    for number, context in enumerate(contexts):
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name)
        context.pages[0].screenshot(path=screenshots / f"{name}-{number}.png", full_page=True)
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


PAGES = {
    "index": "index.html",
    "run": "20260102T030000Z-bbbb/index.html",
    "failed run": "20260103T030000Z-cccc/index.html",
    "notebook": "20260102T030000Z-bbbb/30_tune.html",
    "failed notebook": "20260103T030000Z-cccc/20_analysis.html",
    "compare": "compare.html",
}
VIEWS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_has_no_serious_barrier(site: Site, open_page: Callable[..., Any], name: str) -> None:
    page = open_page(site.folder / PAGES[name])
    assert (site.folder / PAGES[name]).stat().st_size < 3_000_000
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.evaluate(AXE)
    for width, scheme in VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.querySelectorAll('.perfkit-chart:not([data-drawn={scheme}])').length === 0")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        grave = [one for one in page.evaluate(FIND) if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in grave] == []


def test_the_index_says_how_each_report_stands(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / "index.html")
    assert page.locator("h2 .status").inner_text() == "complete"
    statuses = page.locator("tbody .status").all_inner_texts()
    assert statuses == ["complete", "lost", "timed out", "failed", "complete", "complete"]
    assert "4 days ago" in page.locator(".standing").inner_text()
    assert page.locator(".tag.stale").is_visible()
    assert page.locator(".tag.missed").is_visible()
    assert page.locator("svg.spark").first.get_attribute("aria-label").startswith("uds up to over 3 runs: first 48KiB")
    page.get_by_label("Status").select_option("failed")
    assert page.locator("tr[data-status]:visible").count() == 1
    assert page.get_by_role("status").inner_text() == "1 run"


def test_an_old_page_tells_what_was_missed_since(site: Site, open_page: Callable[..., Any], browser: Any) -> None:
    page = open_page(site.folder / "index.html")
    page.clock.install(time=datetime.datetime.now() + 3.5 * DAY)
    page.reload()
    assert "due since this page was written" in page.locator(".next").inner_text()


def test_a_failure_is_explained_and_leads_to_the_cell(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / PAGES["failed notebook"])
    told = page.locator(".failure").inner_text()
    assert "Cell 3 raised an error" in told
    assert "ValueError: no <such> size" in told
    assert "Not run because of it: 30_tune" in told
    assert f"perfkit run --again reports/{site.runs['failed'].run_id}" in told
    assert page.locator("details").first.get_attribute("open") is None  # sixty lines are folded
    page.get_by_role("link", name="Go to the cell").click()
    assert page.locator("#failed-cell").is_visible()
    assert page.locator("#failed-cell .source").first.inner_text() == "size = parse('x')"
    page.get_by_text("Traceback, 60 lines").click()
    assert "line 59 of <module>" in page.locator("#failed-cell details").inner_text()
    page.get_by_role("link", name="UTC").click()
    assert page.url.endswith("20260102T030000Z-bbbb/20_analysis.html")  # the last good run


def test_a_notebook_that_was_stopped_shows_the_cell_under_way(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.runs["slow"].report_path / "20_analysis.html")
    assert "It took longer than it may" in page.locator(".failure").inner_text()
    assert page.locator("#failed-cell .source").inner_text() == "wait_for_ever()"
    assert page.get_by_text("until then").is_visible()


def test_everything_is_reached_by_keyboard(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / PAGES["run"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.get_by_role("button", name="Copy the command: run again").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("['Copied', 'Selected'].includes(document.activeElement.textContent)")


def test_a_chart_offers_its_values_as_a_table(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / PAGES["notebook"])
    page.get_by_text("Values as a table").click()
    assert "payload" in page.locator(".values thead").first.inner_text()
    assert page.locator(".values tbody tr").count() > 1


def test_paper_gets_the_colours_of_the_light_scheme(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / PAGES["notebook"], scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    fills = page.eval_on_selector_all(
        ".perfkit-chart svg text", "(texts) => [...new Set(texts.map((one) => getComputedStyle(one).fill))]"
    )
    dark_text = {"rgb(230, 237, 243)", "rgb(154, 164, 175)"}
    assert fills
    assert not dark_text & set(fills)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000


def said_by_the_page(page: Any, before: PipelineResult, after: PipelineResult) -> Any:
    return page.evaluate(
        """async ([a, b]) => {
            for (const id of [a, b]) {
                await new Promise((done) => {
                    const script = document.createElement("script");
                    script.src = `${id}/figures.js`;
                    script.onload = done;
                    document.head.append(script);
                });
            }
            const changes = perfkitChanges(a, b);
            const shape = document.createElement("div");
            shape.innerHTML = changes.html;
            const figures = changes.figures.map((one) => [one.name, one.kind, one.verdict, one.relativeText]);
            return {sentence: changes.sentence, warnings: changes.warnings, figures, html: shape.innerHTML};
        }""",
        [before.run_id, after.run_id],
    )


def said_by_python(page: Any, changes: RunChanges) -> Any:
    return {
        "sentence": changes.sentence,
        "warnings": list(changes.warnings),
        "figures": [[one.name, one.kind, one.verdict, one.relative_text] for one in changes.figures],
        "html": page.evaluate(
            "(html) => Object.assign(document.createElement('div'), {innerHTML: html}).innerHTML", changes_html(changes)
        ),
    }


def test_the_browser_compares_as_python_does(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / "compare.html")
    pairs: Sequence[tuple[str, str]] = (
        ("first", "second"),
        ("second", "first"),
        ("first", "third"),
        ("failed", "second"),
    )
    for before, after in pairs:
        changes = changes_between(site.runs[before], site.runs[after])
        assert said_by_the_page(page, site.runs[before], site.runs[after]) == said_by_python(page, changes)
    kinds = {one.kind for one in changes_between(site.runs["first"], site.runs["second"]).figures}
    assert len(kinds) == 7  # every kind of change is among them
    forged = """([a, b]) => {
        perfkitRuns[b].pages.at(-1).records[0].text = 'x" class="forged';
        const shape = document.createElement("div");
        shape.innerHTML = perfkitChanges(a, b).html;
        return [shape.querySelectorAll(".forged").length, shape.querySelector("svg").getAttribute("aria-label")];
    }"""
    count, label = page.evaluate(forged, [site.runs["first"].run_id, site.runs["second"].run_id])
    assert (count, 'after x" class="forged' in label) == (0, True)


def test_two_runs_are_chosen_in_the_page_and_by_its_address(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.folder / "compare.html")
    first, second = site.runs["first"].run_id, site.runs["second"].run_id
    page.evaluate("(hash) => (location.hash = hash)", f"a={first}&b={second}")
    page.get_by_text("figures changed: ").wait_for()
    page.get_by_role("button", name="Swap").click()
    page.wait_for_function(f"location.hash === '#a={second}&b={first}'")
    page.locator("[name=b]").select_option(second)
    page.get_by_text("none of").wait_for()
    assert not page.get_by_text("No longer kept").is_visible()
    page.evaluate("(hash) => (location.hash = hash)", f"a=20250101&b={second}")
    page.get_by_text("No longer kept: 20250101.").wait_for()
