"""`perfkit replay`: prove what tuning is worth."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.measure import read_budget
from perfkit.cli.options import json_option, lake_option, names
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["replay_command"]


@click.command("replay", short_help="Judge what is decided on a held-out workload.")
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    default=Path("thresholds.toml"),
    show_default=True,
    help="What was published.",
)
@click.option("--run", "run_id", help="Test the fit of this run instead of what was published.")
@click.option("--settings", help="Only these, such as uds,busy; without it uds, grpc, memory, exhausted and busy.")
@click.option("--payloads", type=click.IntRange(min=1), help="How many; without it, as many as the budget allows.")
@click.option("--seed", type=int, help="Another seed is another workload.")
@click.option("--budget", default="4min", show_default=True, help="Time to spend, such as 2min.")
@click.option("--samples", type=click.Path(path_type=Path), help="Write every send into this Parquet file.")
@lake_option
@json_option
@click.pass_context
def replay_command(
    context: click.Context,
    thresholds: Path,
    run_id: str | None,
    settings: str | None,
    payloads: int | None,
    seed: int | None,
    budget: str,
    samples: Path | None,
    lake: str,
    as_json: bool,
) -> None:
    """Send a held-out workload by every method and judge tuned decisions.

    Against an oracle and against every fixed choice. Exit code 1 when tuned
    misses what it has to hold in a setting, or when a setting could not be
    measured; a result that is inconclusive says so and exits with 0.
    """
    budget_s, _ = read_budget(budget, background=False)
    chosen = names(settings, "--settings")
    from perfkit.measurement.replay_workload import DEFAULT_SEED, REPLAY_SETTINGS
    from perfkit.workflows.replay import replay
    from perfkit.workflows.tune import fit_run

    with interruptible(f"the sends of finished launches are kept in {lake}"), progress_bar() as progress:
        result = replay(
            None if run_id is None else fit_run(lake, run_id),
            thresholds=thresholds,
            settings_of_replay=tuple(REPLAY_SETTINGS) if chosen is None else chosen,
            payloads=payloads,
            seed=DEFAULT_SEED if seed is None else seed,
            budget_s=240.0 if budget_s is None else budget_s,
            lake=lake,
            samples=samples,
            progress=progress,
        )
    show(result, as_json=as_json)
    if result.verdict.startswith("misses"):
        context.exit(1)
