"""What a pipeline comes down to, and all that is refused before anything starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import ConfigError, InputError, UnknownNameError
from perfkit.report import run_pipeline
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.running.parameters import declared_parameters
from perfkit.report.running.pipelines import BUILT_IN_PIPELINES, all_pipelines
from perfkit.report.running.recomputing import earlier_grid
from perfkit.report.running.steps import plan_steps

WriteNotebook = Callable[[str, list[str]], Path]

CELL = {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": []}


@pytest.fixture
def notebooks(write_notebook: WriteNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("10_benchmark", "20_analysis", "30_tune"):
        write_notebook(name, [])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "notebooks"


def test_a_grid_runs_each_notebook_that_declares_its_parameters_once_per_combination(notebooks: Path) -> None:
    plain = notebooks / "plain.ipynb"
    plain.write_text(json.dumps({"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    settings = PipelineSettings(
        ("10_benchmark", "notebooks/plain.ipynb"),
        parameters={"preset": "quick"},
        grid={"launches": (1, 2), "lake_path": ("a/b", "a-b")},
    )
    steps = plan_steps("x", settings, {"replay_budget_s": "3"}, notebooks)
    assert [step.page for step in steps] == [
        "10_benchmark--launches-1--lake_path-a-b",
        "10_benchmark--launches-1--lake_path-a-b-2",
        "10_benchmark--launches-2--lake_path-a-b",
        "10_benchmark--launches-2--lake_path-a-b-2",
        "plain",
    ]
    assert steps[3].point == {"launches": 2, "lake_path": "a-b"}
    assert steps[3].parameters == {
        "preset": "quick",
        "replay_budget_s": 3.0,
        "launches": 2,
        "lake_path": "../a-b",
    }
    assert (steps[4].point, steps[4].parameters) == ({}, {})

    narrowed = plan_steps("x", settings, {"launches": "7", "lake_path": "c"}, notebooks)
    assert [step.point for step in narrowed] == [{"launches": 7, "lake_path": "c"}, {}]


def test_the_grid_of_an_earlier_run_is_read_back_from_its_notebooks() -> None:
    notebooks = tuple(NotebookResult("x", "failed", point={"goal": goal, "n": n}) for goal in "ab" for n in (1, 2))
    run = PipelineResult("x", "y", "failed", "", 0.0, Path(), Path(), None, {}, "", notebooks)
    assert earlier_grid(run) == {"goal": ("a", "b"), "n": (1, 2)}


def test_pipelines_of_the_settings_stand_beside_the_built_in_ones_and_replace_them(tmp_path: Path) -> None:
    settings = tmp_path / "perfkit.toml"
    assert all_pipelines(settings) == BUILT_IN_PIPELINES
    settings.write_text("[pipelines.nightly]\nnotebooks = ['a']\n[pipelines.quick]\nnotebooks = ['b']\n")
    pipelines = all_pipelines(settings)
    assert set(pipelines) == {*BUILT_IN_PIPELINES, "nightly"}
    assert pipelines["quick"].notebooks == ("b",)


@pytest.mark.parametrize(
    ("pipeline", "parameters", "error", "said"),
    [
        ("quik", {}, UnknownNameError, "Did you mean 'quick'"),
        ("quick", {"preset_": "full"}, UnknownNameError, "Did you mean 'preset'"),
        ("quick", {"launches": "many"}, InputError, "launches.*int"),
        ("quick", {"dry_run": "perhaps"}, InputError, "dry_run.*bool"),
        ("quick", {"replay_budget_s": float("inf")}, InputError, "replay_budget_s == inf cannot be handed"),
        ("quick", {"launches": "{[]: 1}"}, InputError, "launches == '{.*', must be of type int"),
        ("quick", {"launches": "-" * 100_000}, InputError, "must be of type int"),
        ("quick", {"lake_path": ""}, InputError, "lake_path == '' is no path; for example lake_path="),
        ("quick", {"lake_path": "a\0b"}, InputError, "is no path"),
        ("grid", {}, UnknownNameError, "unknown parameter of the grid 'goal'"),
        ("twice", {}, InputError, "holds launches = 1 twice"),
        ("typed", {}, InputError, "launches == 'many', must be of type int"),
        ("large", {}, InputError, r"more than 100 combinations for 10_benchmark: launches \(101\)"),
        ("absent", {}, InputError, re.escape("notebooks/40_ab_test.ipynb does not exist")),
        ("names", {}, InputError, "two notebooks named 10_benchmark"),
        ("index", {}, InputError, "has the name of a page"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(
    notebooks: Path, pipeline: str, parameters: dict[str, Any], error: type[Exception], said: str
) -> None:
    (notebooks / "index.ipynb").write_bytes((notebooks / "30_tune.ipynb").read_bytes())
    (notebooks.parent / "perfkit.toml").write_text(
        "\n".join(
            f"[pipelines.{name}]\nnotebooks = {entries}\ngrid = {{ {grid} }}"
            for name, entries, grid in (
                ("grid", ["10_benchmark"], "goal = ['latency']"),
                ("twice", ["10_benchmark"], "launches = [1, 1]"),
                ("typed", ["10_benchmark"], "launches = [1, 'many']"),
                ("large", ["10_benchmark"], f"launches = {list(range(101))}"),
                ("absent", ["10_benchmark", "40_ab_test"], ""),
                ("names", ["10_benchmark", "notebooks/10_benchmark.ipynb"], ""),
                ("index", ["index"], ""),
            )
        )
    )
    with pytest.raises(error, match=said):
        run_pipeline(pipeline, parameters)
    assert not (notebooks.parent / "reports").exists()


def test_settings_that_cannot_be_read_are_named_with_their_line(notebooks: Path) -> None:
    (notebooks.parent / "perfkit.toml").write_text("[pipelines.nightly]\nnotebook = ['10_benchmark']\n")
    with pytest.raises(ConfigError, match=r"perfkit.toml:2.*notebook"):
        run_pipeline("quick")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; open it in JupyterLab"),
        ("{", "is no JSON"),
        ("[]", "has no cells"),
        ('{"worksheets": [], "nbformat": 3}', "has no cells, as notebooks since format 4"),
        ('{"cells": [{}], "metadata": {"kernelspec": {"language": "R"}}}', "written in R"),
    ],
)
def test_what_is_no_notebook_of_python_is_refused(notebooks: Path, text: str, said: str) -> None:
    (notebooks / "30_tune.ipynb").write_text(text)
    with pytest.raises(InputError, match=said):
        run_pipeline("tune")


def test_parameters_are_read_as_python_reads_them(tmp_path: Path) -> None:
    def declared(source: str, tags: object = ("parameters",)) -> dict[str, Any]:
        cell = {**CELL, "source": source.splitlines(keepends=True), "metadata": {"tags": tags}}
        path = tmp_path / "x.ipynb"
        path.write_text(json.dumps({"cells": ["odd", cell]}))
        return declared_parameters(path)

    source = "sizes = [\n    1,  # small\n    -2,\n]\nname: str = 'a = b'\nx = y = 1\nz[0] = 1\nimport os"
    assert declared(source) == {"sizes": [1, -2], "name": "a = b"}
    assert declared("a = 1", tags=None) == {}
    with pytest.raises(InputError, match=re.escape("a = os.cpu_count() is no literal")):
        declared("a = os.cpu_count()")
    with pytest.raises(InputError, match="parameters cell is not Python"):
        declared("a = ")
