"""Find the project that a person is in, and one of its notebooks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from perfkit.errors import InputError, UnknownNameError

__all__ = ["Project", "find_notebook", "find_project"]

_NOTEBOOKS_FOLDER = "notebooks"
_KNOWN_BY = "20_analysis.ipynb"  # any folder may be called notebooks


@dataclasses.dataclass(frozen=True)
class Project:
    """A folder with perfkit's notebooks; the lake, the reports and the settings lie beside them."""

    root: Path

    @property
    def notebooks(self) -> Path:
        return self.root / _NOTEBOOKS_FOLDER


def find_project(start: Path) -> Project:
    """The project that `start` lies in: the nearest folder upwards with perfkit's notebooks.

    Raises:
        InputError: there is none.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / _NOTEBOOKS_FOLDER / _KNOWN_BY).is_file():
            return Project(folder)
    raise InputError(
        f"{here} lies in no project of perfkit: neither it nor a folder above holds {_NOTEBOOKS_FOLDER}/{_KNOWN_BY}; "
        "go into your clone of the repository (the notebooks come with `git clone`, not with `pip install`)"
    )


def find_notebook(project: Project, name: str) -> Path:
    """The notebook of that name, with or without its folder and its suffix.

    Raises:
        UnknownNameError: the project has no such notebook.
    """
    found = {path.stem: path for path in sorted(project.notebooks.glob("*.ipynb"))}
    stem = Path(name).name.removesuffix(".ipynb")
    if stem not in found:
        raise UnknownNameError("notebook", stem, found, f"They are in {project.notebooks}.")
    return found[stem]
