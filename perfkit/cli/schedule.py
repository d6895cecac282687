"""`perfkit schedule`: let the system run a pipeline."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import to_json
from perfkit.errors import InputError

if TYPE_CHECKING:
    from perfkit.report.schedule.installing import Change
    from perfkit.report.schedule.job import ScheduledJob, Setup

__all__ = ["schedule_command"]

_SHOWN = 3


@click.command("schedule", short_help="Let systemd, cron or Windows run a pipeline.")
@click.argument("pipeline")
@click.option("--at", default="", help="The schedule of a pipeline that has none in perfkit.toml.")
@click.option("--systemd", "kind", flag_value="systemd", help="A timer of your user's systemd.")
@click.option("--crontab", "kind", flag_value="crontab", help="A line for your crontab.")
@click.option("--windows", "kind", flag_value="windows", help="A task of Windows, for its subsystem for Linux.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write the files into this folder.")
@click.option("--install", "action", flag_value="install", help="Put the schedule into force.")
@click.option("--remove", "action", flag_value="remove", help="Take the schedule out of force.")
@click.option("--test-notify", "action", flag_value="test", help="Send a test message to whom the pipeline notifies.")
@click.option("--force", is_flag=True, help="Replace what says something else.")
@json_option
@click.pass_context
def schedule_command(
    context: click.Context,
    pipeline: str,
    at: str,
    kind: str | None,
    output: Path | None,
    action: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show what makes this machine run PIPELINE on its schedule.

    The schedule is that of [pipelines.PIPELINE] in perfkit.toml: the five fields
    of a crontab line, in the host's time. Nothing is changed without --output,
    --install or --remove. Run it in the project's folder; without --systemd,
    --crontab or --windows it takes what this machine has.
    """
    if output is not None and action is not None:
        raise InputError(f"--output and --{action.replace('test', 'test-notify')} exclude each other; give one of them")
    if action == "test":
        context.exit(_send_test(pipeline, as_json=as_json))
    from perfkit.report.schedule.installing import install, remove, write_files
    from perfkit.report.schedule.planning import default_kind, plan_job, plan_setup

    kind = kind or default_kind()
    if action == "remove":
        changes = remove(pipeline, Path.cwd(), kind, force=force)
        plain = {"pipeline": pipeline, "kind": kind, "changes": [dataclasses.asdict(change) for change in changes]}
        click.echo(to_json(plain) if as_json else "\n".join(f"{change.state}: {change.place}" for change in changes))
        return
    job = plan_job(pipeline, Path.cwd(), at)
    setup = plan_setup(job, kind)
    changes = ()
    if output is not None:
        changes = write_files(setup, output, force=force)
    elif action == "install":
        changes = install(job, setup, force=force)
    if as_json:
        click.echo(to_json(_plain(job, setup, changes)))
    elif changes:
        click.echo(_changed(job, setup, changes, installed=output is None))
    else:
        click.echo(_shown(job, setup))


def _send_test(pipeline: str, *, as_json: bool) -> int:
    from perfkit.report.notify import send_test
    from perfkit.report.schedule.planning import find_pipeline

    settings = find_pipeline(pipeline, Path.cwd()).notify
    if settings is None:
        raise InputError(
            f"pipeline {pipeline!r} notifies nobody; add [pipelines.{pipeline}.notify] to perfkit.toml, with a webhook "
            "or an email table"
        )
    problems = send_test(pipeline, settings)
    told = "sent; look whether it arrived" if not problems else "\n".join(problems)
    click.echo(to_json({"sent": not problems, "problems": list(problems)}) if as_json else told)
    return 1 if problems else 0


def _shown(job: ScheduledJob, setup: Setup) -> str:
    parts = [f"# {setup.place}: {file.name}\n{file.text}" for file in setup.files]
    commands = "".join(f"#   {command}\n" for command in setup.commands)
    advice = "" if setup.kind == "windows" else f"# `perfkit schedule {job.pipeline} --install` does this.\n"
    return "\n".join((*parts, f"# Then:\n{commands}{advice}# {_next_sentence(job)}"))


def _changed(job: ScheduledJob, setup: Setup, changes: Sequence[Change], *, installed: bool) -> str:
    lines = [f"{change.state}: {change.place}" for change in changes]
    if not installed:
        return "\n".join((*lines, f"Put this into {setup.place}. Then:", *(f"  {one}" for one in setup.commands)))
    if setup.kind == "systemd":
        lines.append(f"So that it runs while you are not logged in, too: {setup.commands[-1].partition('  #')[0]}")
    return "\n".join((*lines, _next_sentence(job)))


def _plain(job: ScheduledJob, setup: Setup, changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "pipeline": job.pipeline,
        "kind": setup.kind,
        "schedule": job.schedule.text,
        "next": [moment.isoformat() for moment in _next(job)],
        "files": [{"name": file.name, "text": file.text} for file in setup.files],
        "place": setup.place,
        "commands": list(setup.commands),
        "changes": [dataclasses.asdict(change) for change in changes],
    }


def _next_sentence(job: ScheduledJob) -> str:
    return f"Next: {', '.join(f'{moment:%a %Y-%m-%d %H:%M}' for moment in _next(job))}."


def _next(job: ScheduledJob) -> list[datetime.datetime]:
    from perfkit.report.schedule.times import next_due_times

    return next_due_times(job.schedule, datetime.datetime.now(datetime.UTC), _SHOWN)
