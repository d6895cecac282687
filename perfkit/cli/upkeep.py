"""`perfkit maintain` and `perfkit migrate`: look after the lake."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, lake_option, settings_option
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["maintain_command", "migrate_command"]


@click.command("maintain")
@lake_option
@settings_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@json_option
def maintain_command(lake: str, settings: Path, dry_run: bool, as_json: bool) -> None:
    """Keep the lake small.

    Rolls transfers up into histograms per minute, deletes rows that are older
    than perfkit.toml says, merges small files and removes what nothing needs.
    Pinned runs, the runs behind the thresholds in force, and the versions that
    reports were made from stay. Run it daily.
    """
    existing(settings)
    from perfkit.workflows.upkeep import maintain_lake

    with interruptible("what was done is whole, and the same command goes on"), progress_bar() as progress:
        result = maintain_lake(lake, settings=settings, dry_run=dry_run, progress=progress)
    show(result, as_json=as_json)


@click.command("migrate")
@lake_option
@click.option("--dry-run", is_flag=True, help="Rehearse on a copy, and leave the lake as it is.")
@json_option
def migrate_command(lake: str, dry_run: bool, as_json: bool) -> None:
    """Bring a lake that an older perfkit wrote to today's schema.

    A backup is kept beside the lake; each table changes in one commit, and what
    it held is compared before and after.
    """
    from perfkit.workflows.upkeep import migrate_lake

    with interruptible("each table is as before or migrated, and the same command goes on"), progress_bar() as progress:
        result = migrate_lake(lake, dry_run=dry_run, progress=progress)
    show(result, as_json=as_json)
