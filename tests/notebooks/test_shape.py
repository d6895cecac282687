"""Notebooks hold no logic, and run anywhere: the shape that every one of them keeps."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL = 12


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["10_benchmark", "20_analysis", "30_tune"]


def test_it_is_valid_and_runs_on_the_plain_kernel(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


def test_its_title_is_a_question(notebook: Any) -> None:
    title = notebook.cells[0].source.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")


def test_it_has_one_cell_of_parameters_all_literals_with_a_comment(notebook: Any) -> None:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1
    source = tagged[0].source
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
    assert all(re.search(r"  # \w", line) for line in source.splitlines())


def test_it_has_one_cell_of_imports(notebook: Any) -> None:
    importing = [
        cell
        for cell in code_cells(notebook)
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(cell.source)))
    ]
    assert len(importing) == 1


def test_its_cells_are_short_and_define_nothing(notebook: Any) -> None:
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LONGEST_CELL
        defining = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, defining) for node in ast.walk(ast.parse(cell.source)))


def test_it_has_no_absolute_path(notebook: Any) -> None:
    for cell in code_cells(notebook):
        texts = [node.value for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Constant)]
        assert not [text for text in texts if isinstance(text, str) and text.startswith(("/", "~"))]


def test_it_keeps_a_record_and_ends_with_an_assertion(notebook: Any) -> None:
    cells = code_cells(notebook)
    assert any("record(" in cell.source for cell in cells)
    assert all(isinstance(statement, ast.Assert) for statement in ast.parse(cells[-1].source).body)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
