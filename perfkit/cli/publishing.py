"""`perfkit publish`: put a fit into force, look at it first, or take it back."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, lake_option, settings_option
from perfkit.cli.output import interruptible, show
from perfkit.errors import InputError

__all__ = ["publish_command"]


@click.command("publish")
@click.option("--run", "run_id", help="The run to fit; without it, the newest finished one.")
@lake_option
@settings_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--rollback", is_flag=True, help="Put the version before this one back into force.")
@click.option("--version", type=click.IntRange(min=1), help="With --rollback: the version to go back to.")
@click.option("--history", "show_history", is_flag=True, help="List the versions that were published.")
@json_option
def publish_command(
    run_id: str | None,
    lake: str,
    settings: Path,
    dry_run: bool,
    rollback: bool,
    version: int | None,
    show_history: bool,
    as_json: bool,
) -> None:
    """Fit a run and publish thresholds.toml with its curves.

    Atomic; every earlier version is kept and can be put back. Refused when the
    evidence is too thin or the file changed meanwhile.
    """
    if show_history and (dry_run or rollback):
        raise InputError("--history only lists what was published; give it alone")
    if version is not None and not rollback:
        raise InputError("--version names the version to go back to; give it together with --rollback")
    from perfkit.workflows import publish as publishing
    from perfkit.workflows.tune import fit_run

    thresholds, chosen = settings.with_name("thresholds.toml"), existing(settings)
    if show_history:
        show(publishing.history(thresholds), as_json=as_json)
        return
    with interruptible("the thresholds in force are whole"):
        if rollback:
            result = publishing.rollback(thresholds, version, settings=chosen, dry_run=dry_run)
        else:
            result = publishing.publish(fit_run(lake, run_id), path=thresholds, settings=chosen, dry_run=dry_run)
    show(result, as_json=as_json)
