"""Notebooks hold no logic, and run anywhere: the shape that every one of them keeps."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from perfkit import report

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL = 12
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
DECIDING = (ast.For, ast.While, ast.If, ast.Try, ast.With, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
YOURS = "yours"
"""Tag of a cell that shows what a reader writes in a service: it may define a function."""
PICTURES = ("_chart", "explore_")
SENTENCES = ("_verdict", "explore_", "open_recorded", "record_versions")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def sections(notebook: Any) -> dict[str, list[ast.Module]]:
    """The code of the cells below every heading of the second level, without that of the last one."""
    found: dict[str, list[ast.Module]] = {}
    heading = ""
    for cell in notebook.cells[:-1]:
        if cell.cell_type == "markdown":
            heading = cell.source.splitlines()[0]
        elif heading.startswith("## ") and YOURS not in cell.metadata.get("tags", ()):
            found.setdefault(heading, []).append(ast.parse(cell.source))
    return found


def calls(code: ast.AST) -> Iterator[str]:
    """What is called, as it is written: `perfkit.bench`, `report.tails_chart`."""
    return (ast.unparse(node.func) for node in ast.walk(code) if isinstance(node, ast.Call))


def test_the_notebooks_are_there() -> None:
    wanted = {"10_benchmark", "20_analysis", "30_tune", "40_ab_test", "50_regressions", "60_capacity"}
    assert wanted <= {path.stem for path in NOTEBOOKS}


def test_it_is_valid_and_runs_on_the_plain_kernel(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


def test_it_asks_a_question_and_says_what_it_answers(notebook: Any) -> None:
    lines = notebook.cells[0].source.splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith("?")
    assert len([line for line in lines if line.startswith("- ")]) >= 2


def test_it_has_one_cell_of_parameters_all_literals_with_a_comment(notebook: Any) -> None:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1
    source = tagged[0].source
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign)
        assert type(ast.literal_eval(statement.value)) in (str, int, float, bool, list)
    assert all(re.search(r"  # \w", line) for line in source.splitlines())


def test_every_parameter_is_used(notebook: Any) -> None:
    first, *others = (ast.parse(cell.source) for cell in code_cells(notebook))
    declared = {ast.unparse(target) for statement in first.body for target in statement.targets}
    used = {node.id for code in others for node in ast.walk(code) if isinstance(node, ast.Name)}
    assert declared <= used


def test_it_has_one_cell_of_imports_all_of_public_names(notebook: Any) -> None:
    importing = [
        [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        for cell in code_cells(notebook)
    ]
    found = [nodes for nodes in importing if nodes]
    assert len(found) == 1
    for node in found[0]:
        modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        assert set(modules) <= {"perfkit", "perfkit.report"}
    assert "report.prepare_notebook()" in code_cells(notebook)[1].source


def test_what_it_calls_of_the_report_is_offered(notebook: Any) -> None:
    called = {name for cell in code_cells(notebook) for name in calls(ast.parse(cell.source))}
    assert {name.removeprefix("report.") for name in called if name.startswith("report.")} <= set(report.__all__)


def test_its_cells_are_short_and_hold_no_logic(notebook: Any) -> None:
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LONGEST_CELL
        logic = DECIDING if YOURS in cell.metadata.get("tags", ()) else (*DEFINING, *DECIDING)
        assert not any(isinstance(node, logic) for node in ast.walk(ast.parse(cell.source)))


def test_every_section_makes_one_call_and_says_what_came_of_it(notebook: Any) -> None:
    for heading, codes in sections(notebook).items():
        called = [name for code in codes for name in calls(code)]
        working = [name for name in called if name.startswith("perfkit.") and name != "perfkit.Context"]
        assert len(working) <= 1, f"{heading}: {working}"
        assert any(sentence in name for name in called for sentence in SENTENCES), f"{heading}: no sentence"


def test_every_section_has_one_picture_at_most(notebook: Any) -> None:
    """So that a heading stands before each."""
    for heading, codes in sections(notebook).items():
        pictures = [name for code in codes for name in calls(code) if any(part in name for part in PICTURES)]
        assert len(pictures) <= 1, f"{heading}: {pictures}"


def test_nothing_is_called_before_the_first_section(notebook: Any) -> None:
    before = itertools.takewhile(lambda cell: not cell.source.startswith("## "), notebook.cells)
    called = [name for cell in before if cell.cell_type == "code" for name in calls(ast.parse(cell.source))]
    assert called == ["report.prepare_notebook"]


def test_it_has_no_absolute_path(notebook: Any) -> None:
    for cell in code_cells(notebook):
        code = ast.parse(cell.source)
        inner = {id(part) for node in ast.walk(code) if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
        texts = [node.value for node in ast.walk(code) if isinstance(node, ast.Constant) and id(node) not in inner]
        assert not [text for text in texts if isinstance(text, str) and text.startswith(("/", "~"))]


def test_it_keeps_records_each_of_them_once(notebook: Any) -> None:
    recorded = [
        ast.unparse(node)
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("report.record_headlines", "report.record")
    ]
    assert recorded
    assert len(set(recorded)) == len(recorded)


def test_it_ends_with_assertions_that_say_what_is_wrong(notebook: Any) -> None:
    statements = ast.parse(code_cells(notebook)[-1].source).body
    assert all(isinstance(statement, ast.Assert) and statement.msg for statement in statements)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
