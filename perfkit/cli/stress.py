"""`perfkit stress`: many senders at once, every payload checked."""

from __future__ import annotations

import click

from perfkit.cli.options import json_option, names
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["stress_command"]


@click.command("stress", short_help="Stress a channel and check every payload.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="Of sending."
)
@click.option("--senders", type=click.IntRange(min=1), default=200, show_default=True, help="Threads in all.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=2, show_default=True, help="That they are spread over."
)
@click.option("--methods", help="Only these, such as uds,shm_pool; without it all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of sizes, kinds and bytes.")
@json_option
@click.pass_context
def stress_command(
    context: click.Context,
    seconds: float,
    senders: int,
    processes: int,
    methods: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Send payloads of all sizes from many threads to one server.

    Every payload and every answer is checked. Exit code 1 when anything was
    lost, reordered, corrupted or leaked, when a send failed, or when memory
    went beyond the arenas by more than 200 MB.
    """
    chosen = names(methods, "--methods")
    from perfkit.schema import SIMPLICITY_ORDER
    from perfkit.workflows.stress import stress

    with interruptible("all processes were ended"), progress_bar() as progress:
        result = stress(
            seconds=seconds,
            senders=senders,
            processes=min(processes, senders),
            methods=SIMPLICITY_ORDER if chosen is None else chosen,
            seed=seed,
            progress=progress,
        )
    show(result, as_json=as_json)
    if result.verdict != "holds":
        context.exit(1)
