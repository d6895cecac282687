"""`perfkit publish`: put a fit into force, look at it first, or take it back."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, lake_option, settings_option
from perfkit.cli.output import interruptible, progress_bar, show
from perfkit.errors import InputError

__all__ = ["publish_command"]


@click.command("publish")
@click.option("--run", "run_id", help="The run to fit; without it, the newest finished one.")
@lake_option
@settings_option
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--replay", "with_replay", is_flag=True, help="First measure a held-out workload, and judge by it.")
@click.option("--force", is_flag=True, help="Override refusals; the published file says which.")
@click.option("--rollback", is_flag=True, help="Put the version before this one back into force.")
@click.option("--version", type=click.IntRange(min=1), help="With --rollback: the version to go back to.")
@click.option("--expected-version", type=click.IntRange(min=0), help="The version previewed against; refuse another.")
@click.option("--history", "show_history", is_flag=True, help="List the versions that were published.")
@json_option
@click.pass_context
def publish_command(
    context: click.Context,
    run_id: str | None,
    lake: str,
    settings: Path,
    dry_run: bool,
    with_replay: bool,
    force: bool,
    rollback: bool,
    version: int | None,
    expected_version: int | None,
    show_history: bool,
    as_json: bool,
) -> None:
    """Fit a run and publish thresholds.toml with its curves.

    Atomic; every earlier version is kept and can be put back. Exit code 1 when it
    is refused (with --dry-run: when it would be), with every reason: evidence
    that is too thin or of another host, a loss, a step too large.
    """
    if show_history and (dry_run or rollback or force or with_replay or expected_version is not None):
        raise InputError("--history only lists what was published; give it alone")
    _check_rollback(rollback, version, judging=force or with_replay)
    from perfkit.workflows import publish as publishing
    from perfkit.workflows.replay import replay
    from perfkit.workflows.tune import fit_run

    thresholds, chosen = settings.with_name("thresholds.toml"), existing(settings)
    if show_history:
        show(publishing.history(thresholds), as_json=as_json)
        return
    with interruptible("the thresholds in force are whole"):
        if rollback:
            result = publishing.rollback(
                thresholds,
                version,
                settings=chosen,
                lake=lake,
                dry_run=dry_run,
                expected_version=expected_version,
            )
        else:
            fit = fit_run(lake, run_id)
            with progress_bar() as progress:
                replayed = replay(fit, lake=lake, progress=progress) if with_replay else None
            result = publishing.publish_if_sound(
                fit,
                path=thresholds,
                settings=chosen,
                replay=replayed,
                lake=lake,
                dry_run=dry_run,
                force=force,
                expected_version=expected_version,
            )
    show(result, as_json=as_json)
    context.exit(1 if result.refused else 0)


def _check_rollback(rollback: bool, version: int | None, *, judging: bool) -> None:
    if rollback and judging:
        raise InputError("--rollback brings back what was judged before; leave --force and --replay out")
    if version is not None and not rollback:
        raise InputError("--version names the version to go back to; give it together with --rollback")
