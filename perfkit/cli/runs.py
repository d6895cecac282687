"""`perfkit runs`: list the runs of a lake, keep, delete, export and import them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from perfkit.cli.groups import NamedCommands
from perfkit.cli.options import json_option, lake_option
from perfkit.cli.output import interruptible, show, to_json
from perfkit.errors import InputError

__all__ = ["runs_command"]

_thresholds_option = click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    default=Path("thresholds.toml"),
    show_default=True,
    help="What is published: the runs that it rests on are kept.",
)


@click.group(
    "runs", cls=NamedCommands, invoke_without_command=True, short_help="List runs; keep, delete, export or import one."
)
@lake_option
@_thresholds_option
@json_option
@click.pass_context
def runs_command(context: click.Context, lake: str, thresholds: Path, as_json: bool) -> None:
    """List the runs of the lake; with a command, look at one, keep, delete,
    export or import it.

    A run is named by its id, by the beginning of it as far as no other run
    begins like that, or as latest (the newest that finished), latest~1 …
    """
    if context.invoked_subcommand is not None:  # `perfkit runs --lake elsewhere show` means what it says
        given = {"lake": lake, "thresholds": thresholds, "as_json": as_json}
        context.default_map = dict.fromkeys(runs_command.commands, given)
        return
    from perfkit.workflows.runs import runs

    show(runs(lake, thresholds=thresholds), as_json=as_json)


@runs_command.command("show")
@click.argument("run")
@lake_option
@_thresholds_option
@json_option
def _show(run: str, lake: str, thresholds: Path, as_json: bool) -> None:
    """Show all that is known about a run, and how its host differs."""
    from perfkit.workflows.runs import run_details

    show(run_details(run, lake=lake, thresholds=thresholds), as_json=as_json)


@runs_command.command("delete")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@lake_option
@_thresholds_option
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also when a run is pinned, or behind the thresholds in force.")
@json_option
def _delete(
    runs: tuple[str, ...], lake: str, thresholds: Path, dry_run: bool, yes: bool, force: bool, as_json: bool
) -> None:
    """Delete the observations and the records of runs.

    Interrupted, the same command does the rest. Disk space is freed by
    `perfkit maintain`.
    """
    if as_json and not (yes or dry_run):
        raise InputError("--json asks nobody; give it together with --yes or --dry-run")
    from perfkit.workflows.run_deletion import delete_runs

    preview = delete_runs(runs, lake=lake, thresholds=thresholds, force=force, dry_run=True)
    if dry_run:
        show(preview, as_json=as_json)
        return
    if not yes:
        click.echo(str(preview))
        if not click.confirm("Delete?"):
            click.echo("Nothing was deleted.")
            return
    with interruptible("the same command does the rest"):
        result = delete_runs(list(preview.observations), lake=lake, thresholds=thresholds, force=force)
    show(result, as_json=as_json)


@runs_command.command("pin")
@click.argument("run")
@lake_option
@json_option
def _pin(run: str, lake: str, as_json: bool) -> None:
    """Keep the observations of a run, however old they get."""
    from perfkit.lake import open_lake
    from perfkit.lake.pins import pin_run
    from perfkit.workflows.runs import resolve_run

    opened = open_lake(lake)
    run_id = resolve_run(opened, run).run_id
    pin_run(opened, run_id)
    _say({"run": run_id, "pinned": True}, f"Pinned run {run_id}: retention leaves its observations alone.", as_json)


@runs_command.command("unpin")
@click.argument("run")
@lake_option
@json_option
def _unpin(run: str, lake: str, as_json: bool) -> None:
    """Let retention have the observations of a run."""
    from perfkit.lake import open_lake
    from perfkit.lake.pins import unpin_run
    from perfkit.workflows.runs import resolve_run

    opened = open_lake(lake)
    run_id = resolve_run(opened, run).run_id
    was_pinned = unpin_run(opened, run_id)
    sentence = f"Released run {run_id}." if was_pinned else f"Run {run_id} was not pinned; nothing was changed."
    _say({"run": run_id, "pinned": False, "was_pinned": was_pinned}, sentence, as_json)


@runs_command.command("export")
@click.argument("run")
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help=".parquet, .arrow, .csv or .json")
@lake_option
@json_option
def _export(run: str, path: Path, lake: str, as_json: bool) -> None:
    """Write a run into one file, with its record and its fingerprint."""
    from perfkit.workflows.exchange import export_run

    with interruptible(f"there is no {path}"):
        result = export_run(run, path, lake=lake)
    show(result, as_json=as_json)


@runs_command.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@lake_option
@json_option
def _import(path: Path, lake: str, as_json: bool) -> None:
    """Read a run that was exported, here or on another machine.

    It keeps its id and its fingerprint. Importing it twice changes nothing.
    """
    from perfkit.workflows.exchange import import_run

    with interruptible("the same command does the rest"):
        result = import_run(path, lake=lake)
    show(result, as_json=as_json)


def _say(plain: Mapping[str, object], sentence: str, as_json: bool) -> None:
    click.echo(to_json(plain) if as_json else sentence)
