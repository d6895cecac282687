"""The commands that a page offers for its run: again with the same parameters, or again from the same data."""

from __future__ import annotations

import shlex

from perfkit.report.results import PipelineResult
from perfkit.report.running.recomputing import VERSIONS_PARAMETER

__all__ = ["again_command", "as_of_command"]

_BEGINNING_BYTES = 2**16


def again_command(run: PipelineResult) -> str:
    """Runs the same pipeline with the same parameters on the newest data."""
    return f"perfkit run --again {_place(run)}"


def as_of_command(run: PipelineResult) -> str:
    """Computes the figures again from the data that the run read; empty where its notebooks only measured.

    A notebook that measures has no parameter for what it reads.
    """
    readers = [one.name for one in run.notebooks if one.versions and _reads(run, one.page_name)]
    if not readers:
        return ""
    if all(one.name in readers for one in run.notebooks):
        return f"perfkit run {shlex.quote(run.pipeline)} --as-of {_place(run)}"
    pipelines = {"30_tune": "tune", "20_analysis": "analyse"}  # those of perfkit itself that do not measure
    pipeline = next((pipeline for name, pipeline in pipelines.items() if name in readers), "")
    return f"perfkit run {pipeline} --as-of {_place(run)}" if pipeline else ""


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
