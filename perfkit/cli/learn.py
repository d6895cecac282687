"""`perfkit learn`: train a cost model, list and restore versions, or keep it up to date."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, lake_option, settings_option
from perfkit.cli.output import interruptible, progress_bar, show
from perfkit.errors import InputError
from perfkit.units import parse_duration

__all__ = ["learn_command"]


@click.command("learn", short_help="Train a cost model on what the lake keeps.")
@lake_option
@click.option("--models", default="data/models", show_default=True, help="Where versions of the model are kept.")
@click.option("--host", default="this", show_default=True, help="Whose transfers: this, any, or a run's.")
@settings_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of everything random.")
@click.option("--dry-run", is_flag=True, help="Train and compare, but keep nothing.")
@click.option("--publish", is_flag=True, help="Distil the model in force into thresholds.toml, through the gate.")
@click.option("--history", "show_history", is_flag=True, help="List the versions.")
@click.option("--rollback", is_flag=True, help="Put the version before this one back into force.")
@click.option("--version", type=click.IntRange(min=1), help="With --rollback: the version to go back to.")
@click.option("--watch", "watches", is_flag=True, help="Update the model again and again until Ctrl-C.")
@click.option("--every", metavar="DURATION", help="With --watch: the pause between updates.  [default: 1min]")
@json_option
@click.pass_context
def learn_command(
    context: click.Context,
    lake: str,
    models: str,
    host: str,
    settings: Path,
    seed: int,
    dry_run: bool,
    publish: bool,
    show_history: bool,
    rollback: bool,
    version: int | None,
    watches: bool,
    every: str | None,
    as_json: bool,
) -> None:
    """Train a cost model on measurements and traffic, for `perfkit predict`.

    It comes into force only if it is surely better than the one that is, on
    newest observations that neither saw, or no worse where that one fell back
    or knows fewer contexts. With fewer than 1000 observations the curves apply.
    Exit code 1 when --publish is refused by the gate, or has nothing to distil
    onto.
    """
    _refuse_together(
        {"--history": show_history, "--rollback": rollback, "--watch": watches, "--dry-run": dry_run},
        {"--publish": publish},
    )
    if version is not None and not rollback:
        raise InputError("--version names the version to go back to; give it together with --rollback")
    if every is not None and not watches:
        raise InputError("--every is the pause between updates; give it together with --watch")
    thresholds, chosen = settings.with_name("thresholds.toml"), existing(settings)
    from perfkit.workflows.learning import versions

    if show_history or rollback:
        if rollback:
            versions.roll_back(models, version)
        show(versions.list_versions(models), as_json=as_json)
        return
    if watches:
        from perfkit.workflows.learning.watching import watch

        every_s = parse_duration(every or "1min") / 1e9
        found = watch(
            lake,
            models,
            host=host,
            every_s=every_s,
            publish=publish,
            thresholds=thresholds,
            settings=chosen,
            seed=seed,
            progress=lambda one: click.echo(str(one), err=True),
        )
        show(found, as_json=as_json)
        return
    from perfkit.workflows.learning.from_lake import learn_models

    with interruptible("the model in force is as it was"), progress_bar() as progress:
        result = learn_models(
            lake,
            models,
            host=host,
            settings=chosen,
            thresholds=thresholds,
            seed=seed,
            dry_run=dry_run,
            publish=publish,
            progress=progress,
        )
    show(result, as_json=as_json)
    context.exit(1 if result.is_unpublished else 0)


def _refuse_together(exclusive: dict[str, bool], publishing: dict[str, bool]) -> None:
    given = [name for name, is_given in exclusive.items() if is_given]
    if any(publishing.values()) and given not in ([], ["--watch"]):
        given.append("--publish")
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one of them")
