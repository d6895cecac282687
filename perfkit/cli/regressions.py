"""`perfkit regressions`: where measurements became worse for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfkit.cli.options import json_option, lake_option
from perfkit.cli.output import interruptible, progress_bar, show
from perfkit.units import parse_share

__all__ = ["regressions_command"]


@click.command("regressions", short_help="Find where measurements became worse for good.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--index", help="Column of FILE that orders the rows: builds, times.")
@click.option("--value", help="Column of FILE that is measured.")
@click.option("--group", "groups", multiple=True, help="Column that tells series apart; may be repeated.")
@click.option("--better", default="lower", show_default=True, help="Which values are better: lower or higher.")
@lake_option
@click.option("--since", help="Only what was measured since then, such as 30 days.")
@click.option("--bucket", default="1h", show_default=True, help="Time whose transfers of services make one point.")
@click.option("--minimum-change", default="5%", show_default=True, help="Smallest change of level that counts.")
@click.option("--tolerance", default="20%", show_default=True, help="Deviation of a newest point that does not matter.")
@click.option("--freeze", metavar="NAME", help="Fix the present expected ranges under this name.")
@click.option(
    "--baselines",
    type=click.Path(path_type=Path),
    default=Path("baselines.json"),
    show_default=True,
    help="Frozen ranges; without this file they move along.",
)
@click.option("--exit-code", is_flag=True, help="Exit code 1 when anything became worse: for CI.")
@json_option
@click.pass_context
def regressions_command(
    context: click.Context,
    /,
    file: Path | None,
    minimum_change: str,
    tolerance: str,
    exit_code: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find changes of level in a CSV or Parquet FILE, or in the lake.

    Of a FILE name two columns; nothing needs to be set up. Rows are sorted by the
    index where it is a whole number or a time; rows with the same index are
    repeated measurements of one point.

    Without FILE the latencies in the lake are judged, apart by method, size,
    kind, format, pool, setting and hardware: with expected ranges, what changed
    series have in common, the events and commits at a change, the stage that it
    lies in, and what to do next.
    """
    change, deviation = parse_share(minimum_change), parse_share(tolerance)
    from perfkit.workflows.regressions import regressions

    with interruptible("nothing was changed"), progress_bar() as progress:
        result = regressions(file, minimum_change=change, tolerance=deviation, progress=progress, **given)
    show(result, as_json=as_json)
    if exit_code and result.is_worse:
        context.exit(1)
