"""The reference of the command line, written from the help of every command."""

from __future__ import annotations

import click

from perfkit.cli.app import COMMANDS, commands

__all__ = ["reference"]

_INTRODUCTION = """\
# Command line

This page is written from the help of each command by `make cli-reference`.

Every command takes `--json` and then prints one JSON object as the last line of standard output; when it fails,
that object is `{"error": {"kind": …, "message": …}}`. Progress goes to standard error, and only to a terminal.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the check failed, or the work could not be done |
| 2 | the input was wrong; nothing was changed |
| 130 | interrupted; the last line says what was kept |
"""


def reference() -> str:
    """The page, as Markdown.

    >>> reference().splitlines()[0]
    '# Command line'
    """
    context = commands.make_context("perfkit", [], resilient_parsing=True, terminal_width=80)
    sections = [_INTRODUCTION]
    for name in COMMANDS:
        command = commands.get_command(context, name)
        assert command is not None  # a name of COMMANDS
        sections += _sections(command, click.Context(command, info_name=name, parent=context), f"perfkit {name}", "##")
    return "\n".join(sections)


def _sections(command: click.Command, context: click.Context, name: str, heading: str) -> list[str]:
    """The help of a command, and of each command of a group."""
    sections = [f"{heading} {name}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for inner_name, inner in command.commands.items():
            inner_context = click.Context(inner, info_name=inner_name, parent=context)
            sections += _sections(inner, inner_context, f"{name} {inner_name}", f"{heading}#")
    return sections


if __name__ == "__main__":
    click.echo(reference(), nl=False)
