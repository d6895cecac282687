"""`perfkit bench`: measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from perfkit.cli.options import json_option, lake_option, names
from perfkit.cli.output import Interrupted, interruptible, progress_bar, show
from perfkit.errors import InputError
from perfkit.units import parse_bytes, parse_duration, parse_share

__all__ = ["bench_command", "read_budget", "read_concurrency", "read_sizes"]

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
@click.option("--ladder", is_flag=True, help="Measure throughput over concurrency, for perfkit.scalability.")
@click.option("--concurrency", help="With --ladder: sends under way at once, such as 1,2,4,8,16,32.")
@click.option("--output", type=click.Path(path_type=Path), help="With --ladder: a CSV file for the ladder.")
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
    ladder: bool,
    concurrency: str | None,
    output: Path | None,
    background: bool,
    lake: str,
    no_resume: bool,
    as_json: bool,
) -> None:
    """Measure real transfers between processes and keep every one.

    Ctrl-C keeps what was measured; the same command then goes on from there.

    With --ladder: throughput over concurrency and the scalability law that it
    follows; uds and shm_pool at 64 KiB in 60 s unless told otherwise.
    """
    budget_s, background_share = read_budget(budget, background=background)
    chosen_methods, chosen_sizes = names(methods, "--methods"), read_sizes(sizes)
    if ladder:
        _refuse_beside_ladder(context)
        _measure_ladder(context, chosen_methods, chosen_sizes, concurrency, budget_s, lake, output, as_json=as_json)
        return
    if concurrency is not None or output is not None:
        raise InputError("--concurrency and --output belong to a ladder; give --ladder, too")
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


def _refuse_beside_ladder(context: click.Context) -> None:
    for option in ("preset", "scenarios", "background", "no_resume"):
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise InputError(f"--{option.replace('_', '-')} has no meaning with --ladder; leave it out")


def _measure_ladder(
    context: click.Context,
    methods: Sequence[str] | None,
    sizes: Sequence[int] | None,
    concurrency: str | None,
    budget_s: float | None,
    lake: str,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure a ladder, write it down where asked, and show it."""
    levels = read_concurrency(concurrency)
    from perfkit.workflows.ladder import bench_ladder

    # What was not given is left to the function, which says what it takes then.
    given = {"methods": methods, "sizes": sizes, "concurrency": levels, "budget_s": budget_s}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with interruptible(f"what was measured is kept in {lake}"), progress_bar() as progress:
        result = bench_ladder(**asked, lake=lake, progress=progress)
    if output is not None:
        result.to_csv(output)
    show(result, as_json=as_json)
    if result.status == "interrupted":
        click.echo(f"perfkit: interrupted; what was measured is kept in {lake}", err=True)
        context.exit(Interrupted.exit_code)


def read_concurrency(text: str | None) -> list[int] | None:
    """Sends under way at once; None when the option was not given.

    >>> read_concurrency("1,2,4")
    [1, 2, 4]
    """
    levels = names(text, "--concurrency")
    if levels is None:
        return None
    if wrong := [level for level in levels if not (level.isascii() and level.isdigit() and 1 <= int(level) <= 64)]:
        raise InputError(
            f"--concurrency {text} holds {wrong[0]!r}, must be whole numbers from 1 to 64, such as 1,2,4,8"
        )
    return [int(level) for level in levels]


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
