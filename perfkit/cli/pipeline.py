"""`perfkit run`: from nothing to a tuned machine and a report."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.cli.options import existing, json_option, settings_option
from perfkit.cli.output import interruptible, progress_bar, to_json
from perfkit.errors import InputError
from perfkit.units import parse_duration

if TYPE_CHECKING:
    from perfkit.report.results import PipelineResult

__all__ = ["read_parameters", "run_command"]


@click.command("run")
@click.argument("pipeline", required=False)
@click.option("-p", "--parameter", "parameters", multiple=True, help="A notebook's parameter, as name=value.")
@click.option(
    "--again",
    type=click.Path(path_type=Path),
    help="Folder of a report: run its pipeline again, with its parameters, on new data.",
)
@click.option(
    "--as-of",
    type=click.Path(path_type=Path),
    help="Folder of a report: compute its figures again, from what it read.",
)
@click.option("--wait", help="How long to wait for another run to end, such as 1h; without it, not at all.")
@settings_option
@json_option
@click.pass_context
def run_command(
    context: click.Context,
    pipeline: str | None,
    parameters: tuple[str, ...],
    again: Path | None,
    as_of: Path | None,
    wait: str | None,
    settings: Path,
    as_json: bool,
) -> None:
    """Measure, fit, publish and report, by running the notebooks.

    PIPELINE is one of the settings' [pipelines.NAME], or one that is built in:
    default (also without PIPELINE), quick (measures about a minute), full, tune
    (fits and publishes what was measured before), or analyse (only looks at it).
    All but the last publish thresholds.toml; each writes a folder under reports/
    with its executed notebooks and their pages, and reports/latest leads to the
    newest that completed. One run at a time. Exit code 1 when a notebook failed;
    its page shows where.
    """
    given = read_parameters(parameters)
    wait_s = 0.0 if wait is None else parse_duration(wait) / 1e9
    existing(settings)
    atexit.register(gc.freeze)  # or Python looks for garbage among all libraries once more before it leaves
    from perfkit.report.running.runner import run_pipeline

    # It may have waited for another run only, and then there is no report.
    report = "a report that was begun shows how far it came"
    kept = f"what was measured is kept in the lake, {report}, and the same command goes on"
    with interruptible(kept), progress_bar() as progress:
        result = run_pipeline(
            pipeline, given, again=again, as_of=as_of, settings=settings, wait_s=wait_s, progress=progress
        )
    click.echo(to_json(_to_plain(result)) if as_json else str(result))
    context.exit(0 if result.status == "complete" else 1)


def read_parameters(parameters: tuple[str, ...]) -> dict[str, str]:
    """Parameters by name, as text; the runner gives them the types that the notebook declares.

    >>> read_parameters(("preset=quick", "sizes=1KiB,1MiB"))
    {'preset': 'quick', 'sizes': '1KiB,1MiB'}
    """
    pairs = {}
    for parameter in parameters:
        name, separator, value = parameter.partition("=")
        if not separator or not name.strip():
            raise InputError(f"parameter {parameter!r} has no name or no value; write name=value, such as preset=quick")
        pairs[name.strip()] = value
    return pairs


def _to_plain(result: PipelineResult) -> dict[str, Any]:
    notebooks = [
        {
            "notebook": one.name,
            "point": dict(one.point),
            "page": f"{one.page_name}.html",
            "status": one.status,
            "error": one.error,
            "seconds": one.seconds,
            "attempts": one.attempts,
            "peak_memory_bytes": one.peak_memory_bytes,
            "notes": list(one.notes),
        }
        for one in result.notebooks
    ]
    return {
        "run": result.run_id,
        "report": str(result.report_path),
        "thresholds": str(result.thresholds_path),
        "published": result.published_version,
        "seconds": result.seconds,
        "status": result.status,
        "not_published": result.not_published,
        "left_out": list(result.left_out),
        "notebooks": notebooks,
        "notes": list(result.notes),
    }
