"""The commands that a page offers for its run: again with the same parameters, or again from the same data."""

from __future__ import annotations

import dataclasses
import shlex

from perfkit.report.results import PipelineResult
from perfkit.report.running.recomputing import VERSIONS_PARAMETER

__all__ = ["Recomputing", "again_command", "recomputings"]

_BEGINNING_BYTES = 2**16
_READERS = {"30_tune": "tune", "20_analysis": "analyse"}
"""Pipelines of perfkit itself that do not measure, by their only notebook."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recomputing:
    """Computes figures again from the data that a run read.

    Args:
        command: what to type.
        notebooks: those that it computes again, of those of the run.
    """

    command: str
    notebooks: tuple[str, ...]


def again_command(run: PipelineResult) -> str:
    """Runs the same pipeline with the same parameters on the newest data."""
    return f"perfkit run --again {_place(run)}"


def recomputings(run: PipelineResult) -> tuple[Recomputing, ...]:
    """What computes the figures again from the data that the run read; empty where its notebooks only measured.

    A notebook that measures has no parameter for what it reads, and its pipeline cannot be run on earlier data: the
    notebooks of it that read are computed by pipelines of their own.
    """
    names = tuple(dict.fromkeys(one.name for one in run.notebooks))
    readers = tuple(dict.fromkeys(one.name for one in run.notebooks if one.versions and _reads(run, one.page_name)))
    if readers and readers == names:
        return (Recomputing(f"perfkit run {shlex.quote(run.pipeline)} --as-of {_place(run)}", readers),)
    return tuple(
        Recomputing(f"perfkit run {pipeline} --as-of {_place(run)}", (name,))
        for name, pipeline in _READERS.items()
        if name in readers
    )


def _place(run: PipelineResult) -> str:
    """As it is called from the project's folder: a page tells nothing of where its author keeps things."""
    return shlex.quote(f"{run.report_path.parent.name}/{run.run_id}")


def _reads(run: PipelineResult, page: str) -> bool:
    """Whether the notebook has that parameter; its cell is among the first, and the rest may be megabytes."""
    try:
        with (run.report_path / f"{page}.ipynb").open("rb") as notebook:
            return f'"{VERSIONS_PARAMETER} ='.encode() in notebook.read(_BEGINNING_BYTES)
    except OSError:
        return False
