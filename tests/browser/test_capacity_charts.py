"""The charts of capacity and of a cost model in a browser: every axis has a title, and no text is cut or covered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

import perfkit
from perfkit.learn.models.report import ModelReport, SliceCoverage, TargetReport
from perfkit.report import charts
from perfkit.report.notebook.rendering import chart_figure
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.site.notebook_page import write_notebook_page
from perfkit.workflows.forecast import Host

pytestmark = pytest.mark.browser

LADDER = {"concurrency": [1, 2, 4, 8, 16], "throughput": [11_000, 18_800, 30_000, 40_000, 42_000]}
DEMAND: dict[str, list[Any]] = {
    "time": [f"2026-{10 + day // 28:02}-{1 + day % 28:02}T00:00:00+00:00" for day in range(24)],
    "value": [1000 * (20 + day / 2 + 3 * (day % 7 == 0) + day % 3) for day in range(24)],
}
HOST = Host(workers=8, cores=4, memory_bytes=2**31, latency_s=0.00012, cpu_s=0.00005, resident_bytes=4e6)
SLICES = (
    ("all", "all", 0.903, 48_210),
    ("method and signalling", "grpc_stream blocking", 0.846, 611),
    ("size", "64KiB to 1MiB", 0.92, 9_000),
    ("load", "5 to 8 under way", 0.95, 45),
)
TITLES = {
    "scalability": ["concurrency", "throughput per second"],
    "demand": ["demand", "time (UTC)"],
    "utilisation": ["share of the limit"],
    "coverage": ["share of transfers within their interval"],
}
TEXTS = """(figure) => [...figure.querySelectorAll('svg text')].filter((one) =>
    one.textContent && one.getAttribute('opacity') !== '0' && getComputedStyle(one).opacity !== '0'
).map((one) => {
    const box = one.getBoundingClientRect();
    return [one.textContent, box.left, box.top, box.right, box.bottom];
})"""
FRAME = "(figure) => { const box = figure.querySelector('svg').getBoundingClientRect(); return [box.left, box.right]; }"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = perfkit.forecast(ladder=LADDER, demand=DEMAND, horizon=14, what_if="rate=1.25x", host=HOST)
    parts = tuple(SliceCoverage(*one) for one in SLICES)
    report = ModelReport(0.9, (TargetReport("latency_ns", "model", "", 48_210, 120, 0.98, 0.93, 0.12, 0.16, parts),))
    drawn = {
        "scalability": charts.scalability_chart(found.usl),
        "demand": charts.demand_chart(found.demand, found.limit, (DEMAND["time"], DEMAND["value"])),
        "utilisation": charts.utilisation_chart(found.bottleneck, found.what_if),
        "coverage": charts.coverage_chart(report),
    }
    cells = [
        nbformat.v4.new_code_cell(
            name, outputs=[nbformat.v4.new_output("display_data", data={"text/html": chart_figure(chart.to_dict())})]
        )
        for name, chart in drawn.items()
    ]
    folder = tmp_path_factory.mktemp("reports") / "20260101T030000Z-aaaa"
    path = _written(folder, nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Capacity"), *cells]))
    context = browser.new_context(offline=True)
    opened = context.new_page()
    opened.goto(path.as_uri())
    yield opened
    context.close()


def _written(folder: Path, notebook: nbformat.NotebookNode) -> Path:
    folder.mkdir()
    one = NotebookResult("60_capacity", "complete", 3.0)
    run = PipelineResult(
        run_id=folder.name,
        pipeline="capacity",
        started_at="2026-01-01T03:00:00+00:00",
        seconds=3.0,
        report_path=folder,
        thresholds_path=folder.parent / "thresholds.toml",
        published_version=None,
        git_revision="abc1234",
        notebooks=(one,),
        started_by="person",
        status="complete",
        parameters={},
        fingerprint={},
        installed={},
    )
    write_notebook_page(run, one, notebook, {})
    return folder / "60_capacity.html"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", TITLES)
def test_axes_have_titles_and_no_text_is_cut_or_covered(page: Any, screenshots: Path, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("document.querySelectorAll('.perfkit-chart:not([data-drawn])').length === 0")
    page.wait_for_function(
        "(width) => [...document.querySelectorAll('.perfkit-chart svg')].every("
        "(one) => one.getBoundingClientRect().right <= width && one.getBoundingClientRect().width > width / 2)",
        arg=width,
    )
    figure = page.locator(".perfkit-chart").nth(list(TITLES).index(name))
    figure.screenshot(path=screenshots / f"{name}-{width}.png")
    texts = figure.evaluate(TEXTS)
    left, right = figure.evaluate(FRAME)
    assert set(TITLES[name]) <= {text for text, *_ in texts}
    assert [text for text, *_ in texts if text.endswith("…")] == []
    assert [text for text, start, _, end, _ in texts if start < left - 1 or end > right + 1] == []
    assert [(one[0], other[0]) for one in texts for other in texts if one is not other and _overlap(one, other)] == []


def _overlap(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """By more than the air around letters."""
    _, left, top, right, bottom = one
    _, other_left, other_top, other_right, other_bottom = other
    across, down = min(right, other_right) - max(left, other_left), min(bottom, other_bottom) - max(top, other_top)
    return bool(across > 1 and down > 4)
