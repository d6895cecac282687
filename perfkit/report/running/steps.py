"""What a pipeline comes down to: its notebooks, once for each point of its grid, with the parameters of each."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import InputError, UnknownNameError
from perfkit.report.running.parameters import PATH_SUFFIX, declared_parameters, find_notebook, typed_value

__all__ = ["MOST_COMBINATIONS", "Step", "plan_steps"]

MOST_COMBINATIONS = 100
"""A grid with more of them for one notebook is taken for a mistake: at a minute each that is over 100 minutes."""

_RESERVED = ("index", "run")  # pages that the site writes into a run's folder
_LONGEST_VALUE = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One notebook at one point of the grid.

    Args:
        source: the notebook.
        page: file name of its page and of the executed notebook, without their ending.
        point: its parameters from the grid, by name.
        parameters: what it is run with, in the types that it declares.
        declared: its parameters by name, with their defaults.
    """

    source: Path
    page: str
    point: Mapping[str, Any]
    parameters: Mapping[str, Any]
    declared: Mapping[str, Any]

    @property
    def name(self) -> str:
        """File name of the notebook, without its ending."""
        return self.source.stem


def plan_steps(
    pipeline: str,
    settings: PipelineSettings,
    given: Mapping[str, Any],
    notebooks_folder: Path,
    if_declared: Mapping[str, Any] | None = None,
) -> tuple[Step, ...]:
    """Expand a pipeline; all of it is checked before anything runs.

    Args:
        pipeline: its name, for messages.
        settings: what it is.
        given: values that win over those of the pipeline; one for a parameter of the grid leaves the grid that value.
        notebooks_folder: where notebooks are looked for by name.
        if_declared: values that win over those of the pipeline, too, as far as a notebook declares them.

    Returns:
        The steps in the order in which they run: each notebook with all its points before the next.

    Raises:
        UnknownNameError: no notebook of the pipeline has a parameter of that name.
        InputError: a notebook is missing, is none, or has a name that another has; a value is of the wrong type; the
            grid has too many combinations.
    """
    sources = [find_notebook(entry, notebooks_folder) for entry in settings.notebooks]
    _refuse_same_names(pipeline, sources)
    declared = {source: declared_parameters(source) for source in sources}
    known = sorted({name for parameters in declared.values() for name in parameters})
    taken = {name: value for name, value in (if_declared or {}).items() if name in known}
    grid = {name: (given[name],) if name in given else values for name, values in settings.grid.items()}
    fixed = {name: value for name, value in {**settings.parameters, **taken, **given}.items() if name not in grid}
    for what, names in (("parameter of the grid", grid), ("parameter", fixed)):
        for name in names:
            if name not in known:
                raise UnknownNameError(what, name, known, "A notebook declares them in its cell tagged 'parameters'.")
    return tuple(step for source in sources for step in _expand(pipeline, source, declared[source], fixed, grid))


def _expand(
    pipeline: str,
    source: Path,
    declared: Mapping[str, Any],
    fixed: Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]],
) -> list[Step]:
    def typed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: typed_value(name, values[name], declared[name], source.parent) for name in values}

    parameters = typed({name: value for name, value in fixed.items() if name in declared})
    own = {name: values for name, values in grid.items() if name in declared}
    combinations = list(itertools.islice(itertools.product(*own.values()), MOST_COMBINATIONS + 1))
    if len(combinations) > MOST_COMBINATIONS:
        sizes = " x ".join(f"{name} ({len(values)})" for name, values in own.items())
        raise InputError(
            f"the grid of pipeline {pipeline} has more than {MOST_COMBINATIONS} combinations for {source.stem}: "
            f"{sizes}; give it fewer values, or make several pipelines of it"
        )
    steps: list[Step] = []
    for values in combinations:
        as_given = dict(zip(own, values, strict=True))
        at_point = typed(as_given)
        # A path is shown as it was given: relative to the notebook it says little.
        point = {name: as_given[name] if name.endswith(PATH_SUFFIX) else value for name, value in at_point.items()}
        if any(step.point == point for step in steps):
            shown = ", ".join(f"{name} = {value}" for name, value in point.items())
            raise InputError(f"the grid of pipeline {pipeline} holds {shown} twice; leave one of them out")
        page = _page(source.stem, point, {step.page for step in steps})
        steps.append(Step(source, page, point, {**parameters, **at_point}, declared))
    return steps


def _page(notebook: str, point: Mapping[str, Any], taken: set[str]) -> str:
    """A file name that says the point.

    >>> _page("30_tune", {"goal": "latency", "sizes": "1KiB, 1MiB"}, set())
    '30_tune--goal-latency--sizes-1KiB-1MiB'
    """
    parts = (f"{name}-{_file_name(str(value))}" for name, value in point.items())
    page = "--".join((notebook, *parts))[:200]
    numbered = (page, *(f"{page}-{number}" for number in range(2, MOST_COMBINATIONS + 2)))
    return next(name for name in numbered if name not in taken)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:_LONGEST_VALUE] or "none"


def _refuse_same_names(pipeline: str, sources: Sequence[Path]) -> None:
    seen: set[str] = set()
    for source in sources:
        if source.stem in seen:
            raise InputError(f"pipeline {pipeline} holds two notebooks named {source.stem}; rename one of them")
        if source.stem in _RESERVED:
            raise InputError(f"notebook {source} has the name of a page that each report has; rename it")
        seen.add(source.stem)
