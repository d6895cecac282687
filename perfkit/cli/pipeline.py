"""`perfkit run`: from nothing to a tuned machine and a report."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import interruptible, progress_bar, to_json
from perfkit.errors import InputError

__all__ = ["read_parameters", "run_command"]


@click.command("run")
@click.argument("pipeline", default="default")
@click.option("-p", "--parameter", "parameters", multiple=True, help="A notebook's parameter, as name=value.")
@click.option(
    "--as-of",
    type=click.Path(path_type=Path),
    help="Folder of a report: compute its figures again, from what it read.",
)
@json_option
@click.pass_context
def run_command(
    context: click.Context, pipeline: str, parameters: tuple[str, ...], as_of: Path | None, as_json: bool
) -> None:
    """Measure, fit, publish and report, by running the notebooks.

    PIPELINE is default, quick (measures about a minute), full, tune (fits and
    publishes what was measured before), or analyse (only looks at it). All but
    the last publish thresholds.toml; each writes a folder under reports/ with
    its executed notebooks and their pages, and reports/latest leads to the
    newest. Exit code 1 when a notebook failed; its
    page shows where.
    """
    given = read_parameters(parameters)
    from perfkit.report.running.runner import run_pipeline

    kept = "what was measured is kept in the lake, the report shows how far it came, and the same command goes on"
    with interruptible(kept), progress_bar() as progress:
        result = run_pipeline(pipeline, given, as_of=as_of, progress=progress)
    if as_json:
        published = {"published": result.published_version, "not_published": result.not_published}
        outcome = {"seconds": result.seconds, "status": result.status}
        places = {"report": str(result.report_path), "thresholds": str(result.thresholds_path)}
        click.echo(to_json({"run": result.run_id, **places, **published, **outcome}))
    else:
        click.echo(str(result))
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
