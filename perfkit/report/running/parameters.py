"""Check a notebook's parameters before anything starts: papermill itself would only warn."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, UnknownNameError

__all__ = ["PATH_SUFFIX", "declared_parameters", "notebook_parameters"]

PATH_SUFFIX = "_path"
"""Parameters with this suffix are paths: relative to the caller's folder when given, to the notebook's by default."""


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """The names and default values in the notebook's `parameters` cell.

    Raises:
        InputError: a default is no literal.
    """
    import papermill

    declared = {}
    for name, found in papermill.inspect_notebook(notebook).items():
        try:
            declared[name] = ast.literal_eval(found["default"])
        except (ValueError, SyntaxError):
            raise InputError(f"{notebook}: {name} = {found['default']} is no literal; write a literal") from None
    return declared


def notebook_parameters(
    notebooks: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], notebooks_folder: Path
) -> dict[str, dict[str, Any]]:
    """What each notebook is run with: the given parameters that it declares, in the types that it declares.

    Args:
        notebooks: name to what `declared_parameters` found.
        given: values by name, as text from a command line or as what they are.
        notebooks_folder: where the notebooks run; relative paths among the values start at the caller's folder.

    Raises:
        UnknownNameError: no notebook declares a given name.
        InputError: a value does not have the type of the default.

    >>> declared = {"10_benchmark": {"preset": "smoke", "launches": 3}, "30_tune": {"preset": "smoke"}}
    >>> notebook_parameters(declared, {"launches": "5"}, Path("."))
    {'10_benchmark': {'launches': 5}, '30_tune': {}}
    """
    allowed = sorted({name for declared in notebooks.values() for name in declared})
    for name in given:
        if name not in allowed:
            raise UnknownNameError("parameter", name, allowed)
    return {
        notebook: {
            name: _typed(name, given[name], declared[name], notebooks_folder) for name in given if name in declared
        }
        for notebook, declared in notebooks.items()
    }


def _typed(name: str, value: Any, default: Any, notebooks_folder: Path) -> Any:
    if isinstance(default, str):
        text = value if isinstance(value, str) else str(value)
        # Relative, so that a report which is passed on does not tell where its author keeps things.
        return os.path.relpath(text, notebooks_folder) if name.endswith(PATH_SUFFIX) else text
    read = _read(value) if isinstance(value, str) else value
    if isinstance(default, float) and isinstance(read, int) and not isinstance(read, bool):
        read = float(read)
    if default is not None and type(read) is not type(default):
        kind = type(default).__name__
        raise InputError(f"parameter {name} == {value!r}, must be of type {kind}; for example {name}={default}")
    try:
        json.dumps(read)
    except TypeError:
        raise InputError(f"parameter {name} == {value!r} cannot be handed to a notebook; give plain data") from None
    return read


def _read(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
