"""`perfkit scoreboard`: how often the statistics err where the truth is known."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["scoreboard_command"]


@click.command("scoreboard", short_help="Prove the error rates of the statistics by simulation.")
@click.option("--full", is_flag=True, help="10 000 runs per rate; about 20 minutes on two cores.")
@click.option("--only", "only", multiple=True, metavar="NAME", help="Only this entry; may be given several times.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all worlds.")
@click.option("--labelled", type=click.Path(path_type=Path), help="Folder of series with labels.csv.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File that gets the JSON as it grows.")
@json_option
@click.pass_context
def scoreboard_command(
    context: click.Context,
    full: bool,
    only: tuple[str, ...],
    seed: int,
    labelled: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Re-run every statistic on worlds whose truth is known.

    Prints false alarms, coverage and power with their number of runs and 95 %
    interval, and whether each target is met, not met or not decided at this
    number. The figures depend on the seed only. Exit code 1 when a target is
    not met, or an entry fails.
    """
    from perfkit.workflows.scoreboard import scoreboard
    from perfkit.workflows.scoreboard.result import NOT_MET

    kept = f"what was complete is in {output}" if output else "nothing was kept; --output keeps what is complete"
    with interruptible(kept), progress_bar() as progress:
        board = scoreboard(full=full, only=only, seed=seed, labelled=labelled, output=output, progress=progress)
    show(board, as_json=as_json)
    if board.verdict == NOT_MET:
        context.exit(1)
