"""A notebook as an app in a real browser: no code, charts that follow their controls, a failure that can be read."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
FIND = "axe.run('#rendered_cells', {resultTypes: ['violations']}).then((found) => found.violations)"
CHART = ".perfkit-explorer-chart[data-drawn]"


@pytest.fixture(scope="module")
def served(serve: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    with serve("dashboard", "20_analysis", "-p", "run_id=20261120-210000-aaaa") as served:
        yield served


def test_it_shows_what_was_asked_for_without_code_and_follows_its_controls(
    served: Any,
    watched: SimpleNamespace,
    screenshots: Path,
    move: Callable[[Any, str, str, str], None],
    wait_until: Callable[..., None],
) -> None:
    page = watched.page
    page.goto(served.url, timeout=120_000)
    page.wait_for_function(f"document.querySelectorAll('{CHART}').length === 3")
    said = page.locator("#rendered_cells").inner_text()
    assert "Where does the time of a transfer go?" in said
    assert "grpc_stream" not in said  # the newer run has it, the one that was asked for has not
    assert "perfkit.analyse(" not in page.content()
    move(page, "perfkit-size-range", ".noUi-handle-lower", "ArrowRight")
    move(page, "perfkit-payload", "select", "ArrowUp")
    page.screenshot(path=screenshots / "dashboard.png")
    page.evaluate(AXE)
    found = [one for one in page.evaluate(FIND) if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function(f"[...document.querySelectorAll('{CHART} svg')].every((svg) => svg.clientWidth <= 400)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator(CHART).nth(1).scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "dashboard-400.png")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 80)")
    page.screenshot(path=screenshots / "dashboard-dark.png")
    assert watched.errors == []
    assert served.kernels() == 1
    page.goto("about:blank")  # its kernel ends with the page
    wait_until(lambda: served.kernels() == 0)


def test_a_notebook_that_fails_says_why(served: Any, watched: SimpleNamespace, project: Path) -> None:
    lake = project / "data" / "lake"
    aside = lake.rename(lake.with_name("aside"))
    try:
        watched.page.goto(served.url, timeout=120_000)
        alert = watched.page.locator("#rendered_cells [role=alert]")
        alert.wait_for()
    finally:
        aside.rename(lake)
    assert "UnknownNameError: unknown run '20261120-210000-aaaa'; allowed: none" in alert.inner_text()
    assert not alert.locator("pre").is_visible()  # the traceback is folded
    alert.locator("summary").click()
    assert "perfkit.analyse(" in alert.locator("pre").inner_text()
