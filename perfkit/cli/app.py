"""The `perfkit` command: finds a command, loads only its file, and turns every outcome into an exit code.

Exit codes: 0 done, 1 the check failed or the work could not be done, 2 the input was wrong, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import cast

import click

from perfkit.errors import InputError, PerfkitError, UnknownNameError

__all__ = ["COMMANDS", "commands", "main"]

COMMANDS = {
    "init": "perfkit.cli.files",
    "run": "perfkit.cli.pipeline",
    "lab": "perfkit.cli.workbench",
    "dashboard": "perfkit.cli.workbench",
    "schedule": "perfkit.cli.schedule",
    "bench": "perfkit.cli.measure",
    "reports": "perfkit.cli.reports",
    "runs": "perfkit.cli.runs",
    "compare": "perfkit.cli.compare",
    "regressions": "perfkit.cli.regressions",
    "forecast": "perfkit.cli.forecast",
    "gate": "perfkit.cli.gate",
    "slos": "perfkit.cli.gate",
    "replay": "perfkit.cli.replay",
    "ab": "perfkit.cli.ab",
    "analyse": "perfkit.cli.analysis",
    "plan": "perfkit.cli.decisions",
    "explain": "perfkit.cli.decisions",
    "learn": "perfkit.cli.learn",
    "predict": "perfkit.cli.predict",
    "publish": "perfkit.cli.publishing",
    "event": "perfkit.cli.event",
    "drain": "perfkit.cli.lake",
    "maintain": "perfkit.cli.upkeep",
    "migrate": "perfkit.cli.upkeep",
    "check": "perfkit.cli.files",
    "doctor": "perfkit.cli.host",
    "stress": "perfkit.cli.stress",
    "scoreboard": "perfkit.cli.scoreboard",
}
"""Every command and the module that defines it, in the order in which a newcomer meets them."""


class _LazyCommands(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast(click.Command, getattr(importlib.import_module(COMMANDS[cmd_name]), f"{cmd_name}_command"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            raise UnknownNameError("command", args[0], COMMANDS, "`perfkit --help` describes them.")
        return super().resolve_command(ctx, args)


@click.command(cls=_LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(None, "--version", package_name="perfkit", message="perfkit %(version)s")
def commands() -> None:
    """Measure how payloads move between processes on this machine, learn where
    each method wins, and publish that for services to decide by.

    Begin with `perfkit run`: it measures, fits, publishes and writes a report.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `perfkit` on the command line; None takes them from the process.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(commands.main(given, prog_name="perfkit", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _failed(given, error.format_message(), type(error).__name__, error.exit_code)
    except click.Abort:
        return _failed(given, "interrupted; nothing was changed", "Interrupted", 130)
    except PerfkitError as error:
        return _failed(given, str(error), type(error).__name__, 2 if isinstance(error, InputError) else 1)


def _failed(given: Sequence[str], message: str, kind: str, exit_code: int) -> int:
    click.echo(f"perfkit: {message}", err=True)
    if "--json" in given:
        click.echo(json.dumps({"error": {"kind": kind, "message": message}}, ensure_ascii=False))
    return exit_code
