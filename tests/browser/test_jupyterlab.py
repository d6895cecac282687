"""The workbench in a real JupyterLab, as a person uses it: open it, run all cells, move a control."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
CHART = f"{NOTEBOOK} .perfkit-explorer-chart[data-drawn]"
ERROR = f"{NOTEBOOK} [data-mime-type='application/vnd.jupyter.error']"
MARKS = ".mark-symbol path, .mark-area path, .mark-line path, .mark-rect path"


@pytest.fixture(scope="module")
def address(serve: Callable[..., AbstractContextManager[Any]]) -> Iterator[str]:
    with serve("lab") as served:
        yield served.url


def run_all(page: Any) -> None:
    page.locator(f"{NOTEBOOK} .jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()  # its kernel is there
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    ended = f"""() => document.querySelector("{ERROR}")
        || [...document.querySelectorAll("{NOTEBOOK} .jp-CodeCell .jp-InputPrompt")].every((prompt) =>
            /\\[\\d+\\]/.test(prompt.textContent))"""
    page.wait_for_function(ended)
    assert page.locator(ERROR).all_inner_texts() == []


def test_it_opens_with_the_notebooks_and_a_welcome(
    address: str, watched: SimpleNamespace, screenshots: Path, project: Path
) -> None:
    page = watched.page
    page.goto(address)
    page.locator(".jp-MarkdownViewer h1").filter(has_text="Welcome to perfkit's workbench").wait_for()
    listed = page.locator(".jp-DirListing-item .jp-DirListing-itemText")
    listed.first.wait_for()
    assert set(listed.all_inner_texts()) >= {path.name for path in project.joinpath("notebooks").glob("*.ipynb")}
    page.get_by_role("tab", name="20_analysis.ipynb").wait_for()
    page.screenshot(path=screenshots / "jupyterlab-welcome.png")
    assert page.get_by_text("Jupyter news").count() == 0
    page.get_by_role("link", name="30_tune").first.click()  # the welcome page leads to the notebooks
    page.get_by_role("tab", name="30_tune.ipynb").wait_for()


def test_run_all_draws_every_chart_and_controls_change_the_picture(
    address: str, watched: SimpleNamespace, screenshots: Path, move: Callable[[Any, str, str, str], None]
) -> None:
    page = watched.page
    page.goto(address.replace("/lab?", "/lab/tree/notebooks/20_analysis.ipynb?") + "&reset")
    run_all(page)
    page.wait_for_function(f"document.querySelectorAll('{CHART}').length === 3")
    room = page.locator(NOTEBOOK).bounding_box()["width"]
    for chart in page.locator(CHART).all():
        assert 0.6 * room < chart.locator("svg").bounding_box()["width"] <= room
        assert chart.locator(MARKS).count() > 2
    move(page, "perfkit-size-range", ".noUi-handle-lower", "ArrowRight")
    page.screenshot(path=screenshots / "jupyterlab-analysis.png")
    move(page, "perfkit-payload", "select", "ArrowUp")
