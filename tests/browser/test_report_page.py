"""The report in a browser that has no network: everything is drawn, nothing is asked for, nothing overflows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.learn import Crossover
from perfkit.report import (
    comparison_chart,
    crossover_chart,
    effects_chart,
    latency_chart,
    looks_chart,
    open_experiment,
    power_chart,
    profile_chart,
    ranges_chart,
    ratios_chart,
    regressions_chart,
    regret_chart,
    sample_ratio_chart,
    series_chart,
    shifts_chart,
    stages_chart,
    tails_chart,
)
from perfkit.report.notebook.records import Record
from perfkit.report.notebook.rendering import chart_figure
from perfkit.report.site.page import write_page
from perfkit.stats.regret import CostTable, Regret
from perfkit.tables import ResultTable
from perfkit.workflows.analyse import analyse
from perfkit.workflows.replay_result import DecadeRegret, ReplayResult, SettingResult

pytestmark = pytest.mark.browser

CHARTS = 18


def replay() -> ReplayResult:
    """One by hand, of nine payloads in one setting."""
    regrets = {name: Regret(0.1, 0.08, 0.12, 1, 1, 9, 9) for name in ("tuned", "best_static", "always:uds")}
    costs = CostTable((), (), np.empty((2, 0, 0)))
    setting = SettingResult("uds", "latency", (), costs, {}, regrets, (DecadeRegret(1e3, 1e4, 9, regrets),), "")
    return ReplayResult("r", "a fit", {}, 1, 1.0, 3, 9, {"uds": setting}, (), pa.table({}))


@pytest.fixture(scope="module")
def page_file(make_curves: Callable[..., CurveSet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    curves = make_curves()
    sizes = [2**power for power in range(10, 28)]
    rows = [
        {"method": method, "payload_bytes": size, "launch": launch, "latency_ns": int(fixed + per_byte * size) + launch}
        for method, (fixed, per_byte) in (("uds", (10_000, 0.3)), ("shm_pool", (40_000, 0.1)), ("grpc", (500_000, 2.0)))
        for size in sizes
        for launch in range(3)
    ]
    observations = pa.Table.from_pylist(rows)
    ratio = SimpleNamespace(value=1.04, low=0.97, high=1.12, n=90)
    analysis = analyse(pa.concat_tables([observations] * 30))  # rows enough for a percentile
    experiment = open_experiment(simulated_sessions=300, simulated_effect=0.2).report
    history = {"build": range(60), "ms": [100.0, 101.0, 99.0] * 13 + [120.0, 121.0, 119.0] * 7}
    found = perfkit.regressions(history, index="build", value="ms")
    charts = [
        latency_chart(observations),
        latency_chart(observations, curves),
        ranges_chart(curves),
        ratios_chart({"shm_pool_vs_memcpy_100MiB": ratio}),
        ratios_chart({}),
        tails_chart(analysis.percentiles),
        profile_chart(analysis.profiles["size"]),
        stages_chart(analysis.stages_at()),
        crossover_chart(observations, curves, Crossover(150_000.0, 100_000.0, 200_000.0, "uds", "shm_pool")),
        regret_chart(replay()),
        comparison_chart(perfkit.compare(observations, observations)),
        *(draw(experiment) for draw in (looks_chart, shifts_chart, sample_ratio_chart, power_chart)),
        effects_chart(experiment.result),
        regressions_chart(found),
        series_chart(found),
    ]
    wide = ResultTable("A wide table", tuple("abcdefgh"), (("a cell with some words",) * 8,)).to_html()
    record = Record("edge of uds", 98_304.0, 65_536, 131_072, "bytes")._repr_mimebundle_()["text/html"]
    parts = [*(chart_figure(chart.to_dict()) for chart in charts), wide, record]
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": part}) for part in parts]
    cells = [nbformat.v4.new_markdown_cell("# Which one?"), nbformat.v4.new_code_cell("draw()", outputs=outputs)]
    path = tmp_path_factory.mktemp("reports") / "page.html"
    write_page(nbformat.v4.new_notebook(cells=cells), path, run_id="run", facts={"Kernel": "6.18"})
    return path


@pytest.fixture
def opened(browser: Any, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """A page without network, of a width and a colour scheme, with what it complained about and asked for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda failed: complaints.append(failed.url))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield SimpleNamespace(page=page, complaints=complaints, width=width, scheme=scheme)
    page.screenshot(path=screenshots / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name)}.png", full_page=True)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


VIEWS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
IN_EVERY_VIEW = pytest.mark.parametrize("opened", VIEWS, indirect=True, ids=lambda view: f"{view[0]} {view[1]}")


def fits(opened: SimpleNamespace) -> bool:
    return bool(opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def brightness(opened: SimpleNamespace, selector: str, colour: str) -> float:
    style = f"getComputedStyle(document.querySelector({selector!r})).{colour}"
    return sum(opened.page.evaluate(f"{style}.match(/\\d+/g).slice(0, 3).map(Number)")) / 3


@IN_EVERY_VIEW
def test_every_chart_is_drawn_and_nothing_else_is_needed(opened: SimpleNamespace, page_file: Path) -> None:
    opened.page.goto(page_file.as_uri())
    opened.page.wait_for_function("document.querySelectorAll('.perfkit-chart:not([data-drawn])').length === 0")
    figures = opened.page.query_selector_all(".perfkit-chart")
    assert len(figures) == CHARTS
    for figure in figures:
        assert figure.get_attribute("data-drawn") == opened.scheme
        box = figure.query_selector("svg").bounding_box()
        assert box["width"] > 0.8 * min(opened.width - 40, 900)
        assert figure.query_selector("svg .mark-text text") is not None
    assert len(opened.page.query_selector_all(".perfkit-chart svg .mark-symbol path")) > 300
    assert len(opened.page.query_selector_all(".perfkit-chart svg .mark-area path")) >= 6
    assert opened.complaints == []
    assert fits(opened)


@IN_EVERY_VIEW
def test_the_page_follows_the_colour_scheme(opened: SimpleNamespace, page_file: Path) -> None:
    opened.page.goto(page_file.as_uri())
    ground = brightness(opened, "body", "backgroundColor")
    text = brightness(opened, "body", "color")
    assert ground > 200 > 80 > text if opened.scheme == "light" else ground < 80 < 200 < text


@pytest.mark.parametrize("opened", [(1280, "light")], indirect=True)
def test_charts_follow_when_the_scheme_or_the_width_changes(opened: SimpleNamespace, page_file: Path) -> None:
    opened.page.goto(page_file.as_uri())
    opened.page.wait_for_selector(".perfkit-chart[data-drawn=light]")
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(f"document.querySelectorAll('.perfkit-chart[data-drawn=dark]').length === {CHARTS}")
    opened.page.set_viewport_size({"width": 400, "height": 900})
    opened.page.wait_for_function("document.querySelector('.perfkit-chart svg').getBoundingClientRect().width <= 400")
    assert fits(opened)
    assert opened.complaints == []


@pytest.mark.parametrize("opened", [(1280, "light")], indirect=True)
def test_a_point_tells_its_figures(opened: SimpleNamespace, page_file: Path) -> None:
    opened.page.goto(page_file.as_uri())
    opened.page.wait_for_selector(".perfkit-chart[data-drawn]")
    opened.page.locator(".perfkit-chart svg .mark-symbol path").first.hover(force=True)
    tooltip = opened.page.wait_for_selector("#vg-tooltip-element.visible")
    assert "method" in tooltip.inner_text()
    assert "median" in tooltip.inner_text()


CONTRASTS = """() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
        const linear = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const ground = getComputedStyle(document.body).backgroundColor;
    return [...document.querySelectorAll(".perfkit-chart svg .mark-text text")].map((text) => {
        text.scrollIntoView({ block: "center", behavior: "instant" });
        const box = text.getBoundingClientRect();
        const beneath = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        const solid = (one) => getComputedStyle(one).fillOpacity * getComputedStyle(one).opacity > 0.9;
        const bar = beneath.find((one) => one.closest(".mark-rect") && solid(one));
        const behind = bar ? getComputedStyle(bar).fill : ground;
        return [text.textContent, contrast(light(getComputedStyle(text).fill), light(behind))];
    });
}"""


@pytest.mark.parametrize("opened", [(1280, "light"), (1280, "dark")], indirect=True, ids=["light", "dark"])
def test_text_in_charts_can_be_read(opened: SimpleNamespace, page_file: Path) -> None:
    """Also that on a method's colour; axe-core looks at no text within a drawing."""
    opened.page.goto(page_file.as_uri())
    opened.page.wait_for_function("document.querySelectorAll('.perfkit-chart:not([data-drawn])').length === 0")
    contrasts = opened.page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert [(text, round(contrast, 2)) for text, contrast in contrasts if contrast < 4.5] == []
