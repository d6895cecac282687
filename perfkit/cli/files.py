"""`perfkit init` and `perfkit check`: the files that people write and review."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option
from perfkit.cli.output import show, to_json

__all__ = ["check_command", "init_command"]


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default="perfkit.toml")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@json_option
def init_command(path: Path, force: bool, as_json: bool) -> None:
    """Write a commented perfkit.toml to begin with."""
    from perfkit.config.template import write_template

    write_template(path, replace=force)
    click.echo(
        to_json({"path": str(path)}) if as_json else f"Wrote {path}. `perfkit run` measures this machine and publishes."
    )


@click.command("check", short_help="Read perfkit.toml and thresholds.toml as a service would.")
@click.argument("path", type=click.Path(path_type=Path), default="perfkit.toml")
@json_option
@click.pass_context
def check_command(context: click.Context, path: Path, as_json: bool) -> None:
    """Read perfkit.toml and the thresholds beside it as a service would.

    Names path, line and column of a mistake, and says whether the thresholds
    were measured on a host like this one, whether policies in Python can be
    imported, and which rules do nothing. Without perfkit.toml the defaults
    apply. Exit code 1 when the check failed, 2 when a file cannot be used at
    all.
    """
    from perfkit.workflows.check import check

    existing(path)
    result = check(path)
    _check_schedules(path)
    show(result, as_json=as_json)
    context.exit(0 if result.ok else 1)


def _check_schedules(path: Path) -> None:
    try:
        from perfkit.report.schedule.planning import check_schedules
    except ImportError:  # a service's host reads no schedule, and has no library for it
        return
    check_schedules(path)
