"""Check a notebook and its parameters before anything starts: papermill itself would only warn."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError

__all__ = ["PATH_SUFFIX", "declared_parameters", "find_notebook", "typed_value"]

PATH_SUFFIX = "_path"
"""Parameters with this suffix are paths: relative to the caller's folder when given, to the notebook's by default."""

NOTEBOOK_SUFFIX = ".ipynb"
_TAG = "parameters"


def find_notebook(entry: str, notebooks_folder: Path) -> Path:
    """The file that a pipeline means by a notebook.

    Args:
        entry: a name in the folder, without its ending, or a path that ends in ``.ipynb``.
        notebooks_folder: where notebooks are looked for by name.

    Raises:
        InputError: there is no such file.
    """
    path = Path(entry) if entry.endswith(NOTEBOOK_SUFFIX) else notebooks_folder / f"{entry}{NOTEBOOK_SUFFIX}"
    if not path.is_file():
        raise InputError(
            f"notebook {path} does not exist; run in a clone of perfkit, or give the folder that holds the notebooks"
        )
    return path.resolve()


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """The names and default values in the notebook's `parameters` cell; none without such a cell.

    Raises:
        InputError: the file is no notebook of Python, or a default is no literal.
    """
    source = _parameters_cell(_read_notebook(notebook))
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{notebook}: its parameters cell is not Python: {error}; correct it") from None
    declared = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.expr = statement.targets[0]
            default: ast.expr | None = statement.value
        elif isinstance(statement, ast.AnnAssign):
            target, default = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and default is not None:
            declared[target.id] = _literal(notebook, target.id, default)
    return declared


def typed_value(name: str, value: Any, default: Any, notebook_folder: Path) -> Any:
    """A value in the type that a notebook declares.

    Args:
        name: of the parameter.
        value: text from a command line, or what it is.
        default: what the notebook declares.
        notebook_folder: where the notebook runs; a relative path among the values starts at the caller's folder.

    Raises:
        InputError: the value does not have the type of the default.

    >>> typed_value("launches", "5", 3, Path(".")), typed_value("budget_s", 20, 4.5, Path("."))
    (5, 20.0)
    """
    if isinstance(default, str):
        text = value if isinstance(value, str) else str(value)
        return _relative(name, text, default, notebook_folder) if name.endswith(PATH_SUFFIX) else text
    read = _read(value) if isinstance(value, str) else value
    if isinstance(default, float) and isinstance(read, int) and not isinstance(read, bool):
        read = float(read)
    if isinstance(default, tuple) and isinstance(read, list):  # perfkit.toml and run.json have no tuples
        read = tuple(read)
    if default is not None and type(read) is not type(default):
        kind = type(default).__name__
        raise InputError(f"parameter {name} == {value!r}, must be of type {kind}; for example {name}={default}")
    try:
        json.dumps(read, allow_nan=False)
    except (TypeError, ValueError):
        raise InputError(
            f"parameter {name} == {value!r} cannot be handed to a notebook; give plain, finite data"
        ) from None
    return read


def _relative(name: str, text: str, default: str, notebook_folder: Path) -> str:
    """Relative, so that a report which is passed on does not tell where its author keeps things."""
    if text == default == "":  # the notebook's way to say "none"
        return text
    if not text.strip() or "\0" in text:
        raise InputError(f"parameter {name} == {text!r} is no path; for example {name}={default or 'data/lake'}")
    return os.path.relpath(text, notebook_folder)


def _read_notebook(notebook: Path) -> dict[str, Any]:
    """The notebook as plain data. Not through nbformat: to import that takes longer than to check what is needed."""
    advice = "open it in JupyterLab and save it, or restore it (git checkout)"
    try:
        plain = json.loads(notebook.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"notebook {notebook} cannot be read: {error.strerror}; check its permissions") from error
    except ValueError as error:
        empty = not notebook.stat().st_size
        raise InputError(f"notebook {notebook} is {'empty' if empty else f'no JSON: {error}'}; {advice}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("cells"), list) or not plain["cells"]:
        raise InputError(f"notebook {notebook} has no cells, as notebooks since format 4 have; {advice}")
    metadata = plain.get("metadata")
    kernel = metadata.get("kernelspec", {}) if isinstance(metadata, dict) else {}
    language = kernel.get("language", "python") if isinstance(kernel, dict) else "python"
    if language != "python":
        raise InputError(f"notebook {notebook} is written in {language}; a pipeline runs notebooks of Python")
    return plain


def _parameters_cell(plain: Mapping[str, Any]) -> str:
    for cell in plain["cells"]:
        metadata = cell.get("metadata") if isinstance(cell, dict) else None
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        if isinstance(tags, list) and _TAG in tags and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            return source if isinstance(source, str) else "".join(source)
    return ""


def _literal(notebook: Path, name: str, default: ast.expr) -> Any:
    try:
        return ast.literal_eval(default)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        raise InputError(f"{notebook}: {name} = {ast.unparse(default)} is no literal; write a literal") from None


def _read(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # what `ast.literal_eval` may raise
        return text
