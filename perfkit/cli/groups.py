"""A command that has commands of its own."""

from __future__ import annotations

import click

from perfkit.errors import UnknownNameError

__all__ = ["NamedCommands"]


class NamedCommands(click.Group):
    """A group that names the commands that there are when it is given another one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            hint = f"`{ctx.command_path} --help` describes them."
            raise UnknownNameError(f"command of `{ctx.command_path}`", args[0], self.commands, hint)
        return super().resolve_command(ctx, args)
