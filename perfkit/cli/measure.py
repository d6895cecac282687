"""`perfkit bench`: measure."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import json_option, lake_option, names
from perfkit.cli.output import Interrupted, interruptible, progress_bar, show
from perfkit.errors import InputError
from perfkit.units import parse_bytes, parse_duration, parse_share

__all__ = ["bench_command", "read_budget", "read_sizes"]

_GO_ON = "the same command goes on from there"


@click.command("bench")
@click.option("--preset", default="default", show_default=True, help="smoke, quick, default, full or limits.")
@click.option("--methods", help="Only these, such as uds,shm_pool.")
@click.option("--sizes", help="Only these payload sizes, such as 1KiB,64KiB,10MiB.")
@click.option("--scenarios", type=click.Path(path_type=Path), help="A TOML file with scenarios of your own.")
@click.option(
    "--budget",
    help="Time to spend, such as 3min; with --background the share of the machine's processor time, such as 5%.",
)
@click.option("--background", is_flag=True, help="Measure gently on a host that serves; its impact is measured, too.")
@lake_option
@click.option("--no-resume", is_flag=True, help="Begin anew instead of going on with an interrupted run.")
@json_option
@click.pass_context
def bench_command(
    context: click.Context,
    preset: str,
    methods: str | None,
    sizes: str | None,
    scenarios: Path | None,
    budget: str | None,
    background: bool,
    lake: str,
    no_resume: bool,
    as_json: bool,
) -> None:
    """Measure real transfers between processes and keep every one.

    Ctrl-C keeps what was measured; the same command then goes on from there.
    """
    budget_s, background_share = read_budget(budget, background=background)
    chosen_methods, chosen_sizes = names(methods, "--methods"), read_sizes(sizes)
    from perfkit.workflows.measure import bench

    with interruptible(f"what was measured is kept in {lake}, and {_GO_ON}"), progress_bar() as progress:
        result = bench(
            preset=preset,
            methods=chosen_methods,
            sizes=chosen_sizes,
            scenarios=scenarios,
            budget_s=budget_s,
            background_share=background_share,
            lake=lake,
            progress=progress,
            resume=not no_resume,
        )
    show(result, as_json=as_json)
    if result.status == "interrupted":
        click.echo(f"perfkit: interrupted; what was measured is kept in {lake}, and {_GO_ON}", err=True)
        context.exit(Interrupted.exit_code)


def read_sizes(text: str | None) -> list[int] | None:
    """Payload sizes in bytes, each above 0; None when the option was not given.

    >>> read_sizes("1KiB,2KiB")
    [1024, 2048]
    """
    size_texts = names(text, "--sizes")
    sizes = None if size_texts is None else [parse_bytes(size) for size in size_texts]
    if sizes and min(sizes) <= 0:
        raise InputError(f"--sizes {text} holds an empty payload; give sizes above 0, such as 1KiB,64KiB")
    return sizes


def read_budget(budget: str | None, *, background: bool) -> tuple[float | None, float | None]:
    """Seconds to spend, and the share of the machine's processor time that a background measurement may take.

    >>> read_budget("3min", background=False), read_budget("5%", background=True)
    ((180.0, None), (None, 0.05))
    """
    is_share = budget is not None and "%" in budget
    if is_share and not background:
        raise InputError(f"--budget {budget} is a share, which only --background takes; give a duration such as 3min")
    if background:
        return (None, parse_share(budget or "5%")) if is_share or budget is None else (_seconds(budget), 0.05)
    return (None if budget is None else _seconds(budget)), None


def _seconds(budget: str) -> float:
    seconds = parse_duration(budget) / 1e9
    if seconds <= 0:
        raise InputError(f"--budget {budget} leaves no time; give a duration such as 3min")
    return seconds
