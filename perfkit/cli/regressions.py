"""`perfkit regressions`: where measurements became worse for good."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import show
from perfkit.units import parse_share

__all__ = ["regressions_command"]


@click.command("regressions")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--index", required=True, help="Column that orders the rows: builds, times.")
@click.option("--value", required=True, help="Column of measurements.")
@click.option("--group", "groups", multiple=True, help="Column that tells series apart; may be repeated.")
@click.option("--better", default="lower", show_default=True, help="Which values are better: lower or higher.")
@click.option("--minimum-change", default="5%", show_default=True, help="Smallest change of level that counts.")
@click.option("--exit-code", is_flag=True, help="Exit code 1 when there are regressions: for CI.")
@json_option
@click.pass_context
def regressions_command(
    context: click.Context,
    file: Path,
    index: str,
    value: str,
    groups: tuple[str, ...],
    better: str,
    minimum_change: str,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Find changes of level in a CSV or Parquet FILE.

    Rows are sorted by the index where it is a whole number or a time; rows with
    the same index are repeated measurements of one point. Nothing else needs to
    be set up.
    """
    share = parse_share(minimum_change)
    from perfkit.workflows.regressions import regressions

    result = regressions(file, index=index, value=value, groups=groups, better=better, minimum_change=share)
    show(result, as_json=as_json)
    if exit_code and result.regressions:
        context.exit(1)
