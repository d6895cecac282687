"""A notebook is made ready where it is run: charts that suit, and the folder that its paths start from."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import polars as pl
import pytest

from perfkit.errors import InputError
from perfkit.report import prepare_notebook


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a scheduler runs a copy of a notebook; nothing says yet where it came from."""
    for name in (
        *("JPY_SESSION_NAME", "PERFKIT_NOTEBOOKS", "PERFKIT_REPORT", "SERVER_SOFTWARE"),
        "VSCODE_PID",
    ):
        monkeypatch.delenv(name, raising=False)
    (folder := tmp_path / "staging").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder := tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("PERFKIT_NOTEBOOKS", str(folder))
    return folder


def test_a_copy_that_a_scheduler_runs_goes_back_to_the_project(notebooks: Path) -> None:
    prepare_notebook()
    assert Path.cwd() == notebooks


@pytest.mark.parametrize("name", ["JPY_SESSION_NAME", "PERFKIT_REPORT"])
def test_a_notebook_that_is_where_it_belongs_stays(
    name: str, notebooks: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    prepare_notebook()
    assert Path.cwd() == staging


def test_nothing_moves_where_nobody_names_the_project(staging: Path) -> None:
    prepare_notebook()
    assert Path.cwd() == staging


def test_a_folder_that_is_not_there_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFKIT_NOTEBOOKS", "nowhere")
    with pytest.raises(InputError, match=r"PERFKIT_NOTEBOOKS == 'nowhere'.*set it to that, or remove it"):
        prepare_notebook()


@pytest.mark.parametrize(
    ("variable", "value", "renderer"),
    [
        ("PERFKIT_REPORT", "1", "perfkit"),
        ("JPY_SESSION_NAME", "/somewhere/20_analysis.ipynb", "perfkit-widget"),
        ("SERVER_SOFTWARE", "voila/0.5.0", "perfkit-widget"),
        ("SERVER_SOFTWARE", "gunicorn", "perfkit-picture"),
    ],
)
def test_charts_are_figures_in_a_report_widgets_for_people_and_pictures_for_nobody(
    variable: str, value: str, renderer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    prepare_notebook()
    assert alt.renderers.active == renderer


def test_a_picture_needs_nothing_to_be_drawn() -> None:
    prepare_notebook()
    points = alt.Chart(pl.DataFrame({"x": [1, 2]})).mark_point().encode(x="x:Q")
    bundle = points.properties(width="container", description="Two <points>.")._repr_mimebundle_()
    assert "<svg" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert "Two &lt;points&gt;." in bundle["text/html"]
