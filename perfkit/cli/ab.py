"""`perfkit ab`: the life of an experiment, and a test of rows that anybody recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from perfkit.cli.groups import NamedCommands
from perfkit.cli.options import existing, json_option, lake_option
from perfkit.cli.output import interruptible, show
from perfkit.errors import InputError
from perfkit.units import parse_share

__all__ = ["ab_command"]

_settings_option = click.option(
    "--settings",
    type=click.Path(path_type=Path),
    default=Path("perfkit.toml"),
    show_default=True,
    help="The settings; plans lie in experiments/ beside them.",
)
_METRIC = "COLUMN:STATISTICS"


@click.group(
    "ab",
    cls=NamedCommands,
    invoke_without_command=True,
    short_help="Run an experiment: plan, power, watch, conclude, promote.",
)
@lake_option
@_settings_option
@json_option
@click.pass_context
def ab_command(context: click.Context, lake: str, settings: Path, as_json: bool) -> None:
    """List experiments; with a command, compare variants of a pool's settings
    on real traffic.

    An experiment is planned (`configure`), sized (`power`), looked at as often
    as one likes (`watch`), ended (`conclude`), made the default (`promote`) or
    taken back (`rollback`), and put away (`archive`). `test` judges rows of any
    file.
    """
    if context.invoked_subcommand is not None:  # `perfkit ab --lake elsewhere watch` means what it says
        given = {"lake": lake, "settings": settings, "as_json": as_json}
        context.default_map = dict.fromkeys(ab_command.commands, given)
        return
    _show_all(settings, as_json)


def _test_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--unit", default="session", show_default=True, help="Column of what was randomised."),
        click.option("--variant", default="variant", show_default=True, help="Column that names the variant."),
        click.option("--control", help="Variant to compare with.  [default: A; of an experiment, its first]"),
        click.option("--metric", "metrics", multiple=True, metavar=_METRIC, help="Such as latency_ns:mean,p95."),
        click.option("--guardrail", "guardrails", multiple=True, metavar=_METRIC, help="What must not get worse."),
        click.option("--segment", "segments", multiple=True, metavar="COLUMN", help="Show its values apart, too."),
        click.option("--more-is-better", multiple=True, metavar="COLUMN", help="A metric of which more is better."),
        click.option("--inference", default="fixed", show_default=True, help="fixed (one look) or sequential."),
        click.option("--alpha", default="5%", show_default=True, help="Accepted share of wrong verdicts."),
        click.option("--margin", default="5%", show_default=True, help="Largest change that does not matter."),
        click.option("--shares", help="Planned shares, such as A=0.9,B=0.1.  [default: equal]"),
        click.option("--minimum", type=click.IntRange(min=0), default=10_000, show_default=True, help="Rows wanted."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@ab_command.command("test", short_help="Judge the rows of a file, or of an experiment.")
@click.argument("source", metavar="FILE|EXPERIMENT")
@_test_options
@lake_option
@_settings_option
@json_option
def _test(source: str, lake: str, settings: Path, as_json: bool, **given: Any) -> None:
    """Judge the rows of FILE (.csv, .tsv, .parquet, .arrow), or those that the
    lake has of EXPERIMENT, at the unit that was randomised.

    Less is better, unless --more-is-better says otherwise. The verdict rests on
    the first statistic of the first metric; without --metric, that is the mean
    of latency_ns.
    """
    from perfkit.workflows.experiment.testing import judge

    question = {name: given[name] for name in ("unit", "variant", "inference", "minimum")}
    question |= {name: parse_share(given[name]) for name in ("alpha", "margin")}
    question |= {name: _metrics(given[name]) for name in ("metrics", "guardrails") if given[name]}
    question |= {"segments": given["segments"], "directions": dict.fromkeys(given["more_is_better"], "more")}
    shares = _shares(tuple((given["shares"] or "").split(",")) if given["shares"] else ())
    result = judge(source, lake=lake, settings=settings, control=given["control"], shares=shares or None, **question)
    show(result, as_json=as_json)


@ab_command.command("configure", short_help="Write the plan, show the section that starts it.")
@click.argument("name")
@click.option("--pool", "pools", multiple=True, help="Section of the settings that takes part.  [default: all]")
@click.option("--variant", "variants", multiple=True, metavar="NAME[:KEY=VALUE]", help="The first is the control.")
@click.option("--share", "shares", multiple=True, metavar="NAME=SHARE", help="Of the sessions.  [default: equal]")
@click.option("--hypothesis", default="", help="What is expected, and why.")
@click.option("--metric", "metrics", multiple=True, metavar=_METRIC, help="The first one decides.")
@click.option("--guardrail", "guardrails", multiple=True, metavar=_METRIC, help="What must not get worse.")
@click.option("--segment", "segments", multiple=True, metavar="COLUMN", help="Show its values apart, too.")
@click.option("--margin", default="5%", show_default=True, help="Largest change that does not matter.")
@click.option("--alpha", default="5%", show_default=True, help="Accepted share of wrong verdicts.")
@click.option("--minimum", type=click.IntRange(min=1), default=10_000, show_default=True, help="Transfers each.")
@click.option("--planned-units", type=click.IntRange(min=2), help="Sessions in all after which it ends.")
@click.option("--inference", default="sequential", show_default=True, help="sequential or fixed.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the section to a new file.")
@lake_option
@_settings_option
@json_option
def _configure(
    name: str,
    pools: tuple[str, ...],
    variants: tuple[str, ...],
    shares: tuple[str, ...],
    output: Path | None,
    lake: str,
    settings: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Plan experiment NAME: what decides, what must not get worse, which change
    matters - before there is data.

    Writes experiments/NAME.toml and shows the section for perfkit.toml, checked
    as a service would read it; you add it. A variant that changes several keys
    is named once for each: --variant B:goal=latency --variant B:margin=2%.
    Without --variant, for an experiment that is in perfkit.toml already.
    """
    from perfkit.config.experiment_plan import INFERENCES, ExperimentPlan
    from perfkit.errors import UnknownNameError
    from perfkit.workflows.experiment.configuring import configure, parse_change

    existing(settings)
    if given["inference"] not in INFERENCES:
        raise UnknownNameError("inference", given["inference"], INFERENCES)
    fields = {key: given[key] for key in ("hypothesis", "minimum", "planned_units", "inference", "segments")}
    fields |= {key: parse_share(given[key]) for key in ("margin", "alpha")}
    fields |= {key: _metrics(given[key]) for key in ("metrics", "guardrails") if given[key]}
    changes: dict[str, dict[str, Any]] = {}
    for variant, key, value in map(parse_change, variants):
        changes.setdefault(variant, {}).update({key: value} if key else {})
    result = configure(
        ExperimentPlan(name, **fields),
        variants=changes or None,
        shares=_shares(shares) or None,
        pools=pools,
        settings=settings,
        output=output,
        lake=lake,
    )
    show(result, as_json=as_json)


@ab_command.command("power", short_help="Say what an experiment could find, and after how long.")
@click.argument("name", required=False)
@click.option("--metric", metavar="COLUMN:STATISTIC", help="Such as latency_ns:p95.  [default: the plan's first]")
@click.option("--change", help="Change to be found, such as 5%.  [default: the plan's margin]")
@click.option("--pool", "pools", multiple=True, help="Of which the traffic counts.  [default: the experiment's]")
@lake_option
@_settings_option
@json_option
def _power(
    name: str | None,
    metric: str | None,
    change: str | None,
    pools: tuple[str, ...],
    lake: str,
    settings: Path,
    as_json: bool,
) -> None:
    """Say what an experiment on the traffic of the last two weeks could find,
    and after how many sessions and days.

    NAME is an experiment that is planned or runs; without it, all sessions take
    part, half of them in the variant.
    """
    from perfkit.workflows.experiment.sizing import size_experiment

    column, statistics = next(iter(_metrics((metric,)).items())) if metric else ("", ("",))
    if len(statistics) > 1:
        raise InputError(f"--metric {metric!r} names {len(statistics)} statistics; name one, such as {column}:p95")
    result = size_experiment(
        name,
        metric=column,
        statistic=statistics[0],
        change=parse_share(change) if change else None,
        pools=pools,
        lake=lake,
        settings=settings,
    )
    show(result, as_json=as_json)


@ab_command.command("watch", short_help="Look at an experiment while it runs.")
@click.argument("name")
@click.option("--exit-code", is_flag=True, help="Exit code 1 when it should be stopped.")
@lake_option
@_settings_option
@json_option
@click.pass_context
def _watch(context: click.Context, name: str, exit_code: bool, lake: str, settings: Path, as_json: bool) -> None:
    """Look at experiment NAME: as often as you like, every interval is valid at
    all looks together.

    Says STOP where the sessions are not split as planned or a guardrail broke,
    and otherwise how long it still takes.
    """
    from perfkit.workflows.experiment.watching import watch

    result = watch(name, lake=lake, settings=settings)
    show(result, as_json=as_json)
    context.exit(1 if exit_code and result.problems else 0)


@ab_command.command("conclude", short_help="Judge an experiment by its plan, and keep the verdict.")
@click.argument("name")
@click.option("--force", is_flag=True, help="Before the planned end, too; the result says so.")
@lake_option
@_settings_option
@json_option
@click.pass_context
def _conclude(context: click.Context, name: str, force: bool, lake: str, settings: Path, as_json: bool) -> None:
    """End experiment NAME: verdict, recommendation, and the effect over time.

    Exit code 1 when it is refused: too few transfers or sessions, and no
    always-valid interval has decided. What was concluded is kept beside the
    plan.
    """
    from perfkit.workflows.experiment.concluding import conclude

    with interruptible("nothing was concluded"):
        result = conclude(name, force=force, lake=lake, settings=settings)
    show(result, as_json=as_json)
    context.exit(1 if result.refused else 0)


@ab_command.command("promote", short_help="Make a variant the default.")
@click.argument("name")
@click.option("--variant", help="The variant.  [default: the one that was recommended]")
@click.option("--force", is_flag=True, help="In spite of what forbids it; the event says so.")
@lake_option
@_settings_option
@json_option
@click.pass_context
def _promote(
    context: click.Context,
    name: str,
    variant: str | None,
    force: bool,
    lake: str,
    settings: Path,
    as_json: bool,
) -> None:
    """Make the settings of a variant of experiment NAME those of its pools.

    The first call shows the change to perfkit.toml and keeps it as a patch: you
    apply it. The second one finds it applied, and publishes the thresholds that
    follow from it. Exit code 1 when it is refused: not concluded, not shown to
    be not worse, or refused by `publish`.
    """
    from perfkit.workflows.experiment.promoting import promote

    with interruptible("the thresholds in force are whole"):
        result = promote(name, variant, force=force, lake=lake, settings=settings)
    show(result, as_json=as_json)
    context.exit(1 if result.refused else 0)


@ab_command.command("rollback", short_help="Switch an experiment off, or take a promotion back.")
@click.argument("name")
@lake_option
@_settings_option
@json_option
def _rollback(name: str, lake: str, settings: Path, as_json: bool) -> None:
    """Show the change to perfkit.toml that stops experiment NAME.

    After a promotion, the change that takes it back; thresholds that it
    published are rolled back at once.
    """
    from perfkit.workflows.experiment.ending import roll_back_experiment

    with interruptible("the thresholds in force are whole"):
        result = roll_back_experiment(name, lake=lake, settings=settings)
    show(result, as_json=as_json)


@ab_command.command("archive", short_help="Put the plan and the result away.")
@click.argument("name")
@lake_option
@_settings_option
@json_option
def _archive(name: str, lake: str, settings: Path, as_json: bool) -> None:
    """Move what is kept of experiment NAME to experiments/archive/.

    The lake keeps its transfers as long as all others.
    """
    from perfkit.workflows.experiment.ending import archive_experiment

    show(archive_experiment(name, lake=lake, settings=settings), as_json=as_json)


@ab_command.command("list", short_help="List every experiment and how far it has come.")
@_settings_option
@json_option
def _list(settings: Path, as_json: bool) -> None:
    """List the experiments of perfkit.toml, of the plans and of the archive."""
    _show_all(settings, as_json)


def _show_all(settings: Path, as_json: bool) -> None:
    from perfkit.workflows.experiment.listing import experiments

    existing(settings)
    show(experiments(settings), as_json=as_json)


def _metrics(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    from perfkit.config.experiment_plan import parse_metric

    found: dict[str, tuple[str, ...]] = {}
    for metric, statistics in map(parse_metric, texts):
        found[metric] = tuple(dict.fromkeys((*found.get(metric, ()), *statistics)))
    return found


def _shares(texts: Sequence[str]) -> dict[str, float]:
    """Shares by variant, from texts such as ``A=90%``."""
    found = {}
    for text in texts:
        name, equals, share = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{text!r} is no share; write a variant and its share, such as A=90%")
        found[name.strip()] = parse_share(share)
    return found
