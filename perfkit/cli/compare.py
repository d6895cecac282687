"""`perfkit compare`: what changed between two runs."""

from __future__ import annotations

import click

from perfkit.cli.options import json_option, lake_option
from perfkit.cli.output import show
from perfkit.units import parse_share

__all__ = ["compare_command"]


@click.command("compare")
@click.argument("run_a")
@click.argument("run_b")
@click.option("--margin", default="5%", show_default=True, help="Largest change that does not matter.")
@click.option("--quantity", default="latency", show_default=True, help="latency, cpu or resident (memory).")
@lake_option
@json_option
def compare_command(run_a: str, run_b: str, margin: str, quantity: str, lake: str, as_json: bool) -> None:
    """Compare RUN_B with RUN_A, scenario by scenario and over all.

    A run is named by its id, by the beginning of it, or as latest, latest~1 …
    Each scenario is better, worse, equivalent (a change as large as the margin
    is ruled out) or inconclusive, with a 95 % interval over launches and
    p-values that allow for the number of scenarios. Controls tell whether the
    machine changed.
    """
    share = parse_share(margin)
    from perfkit.workflows.compare import compare

    show(compare(run_a, run_b, lake=lake, quantity=quantity, margin=share), as_json=as_json)
