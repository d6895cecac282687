"""`perfkit analyse`: look at what was measured or observed."""

from __future__ import annotations

import click

from perfkit.cli.options import json_option, lake_option, names
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["analyse_command"]


@click.command("analyse", short_help="Show percentiles, profiles, and where the time goes.")
@click.option("--run", help="The run to analyse; default: the newest that finished.")
@click.option("--since", help="Instead of a run all that was recorded since then, such as 24h.")
@click.option(
    "--by", default="method", show_default=True, help="Group percentiles by these, such as method,size_class."
)
@lake_option
@json_option
def analyse_command(run: str | None, since: str | None, by: str, lake: str, as_json: bool) -> None:
    """Show percentiles, profiles, where the time goes, and what dominates.

    Intervals are over launches; what has too few rows says so instead of giving
    a figure. What goes together with latency is no cause by that alone.
    """
    dimensions = names(by, "--by")
    from perfkit.workflows.analyse import analyse

    with interruptible("nothing was changed"), progress_bar() as progress:
        result = analyse(lake, run=run, since=since, by=dimensions or (), progress=progress)
    show(result, as_json=as_json)
