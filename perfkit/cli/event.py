"""`perfkit event`: tell the lake what happened, so that what changed with it is explained."""

from __future__ import annotations

import click

from perfkit.cli.groups import NamedCommands
from perfkit.cli.options import json_option, lake_option
from perfkit.cli.output import show

__all__ = ["event_command"]


@click.group(
    "event",
    cls=NamedCommands,
    invoke_without_command=True,
    short_help="Tell the lake what happened, or list it.",
)
@lake_option
@json_option
@click.pass_context
def event_command(context: click.Context, lake: str, as_json: bool) -> None:
    """List what the lake was told; `add` tells it what happened outside
    perfkit.

    `perfkit regressions` names the events that lie at a change. Publishing and
    deleting a run tell of themselves.
    """
    if context.invoked_subcommand is not None:  # `perfkit event --lake elsewhere list` means what it says
        given = {"lake": lake, "as_json": as_json}
        context.default_map = dict.fromkeys(event_command.commands, given)
        return
    _show_events(lake, None, as_json)


@event_command.command("add")
@click.argument("name")
@click.option("--subject", default="", help="What it happened to: a service, a host.")
@click.option("--message", default="", help="One sentence for people.")
@click.option("--at", default="0s", show_default=True, help="How long ago, such as 2h, or a time with its zone.")
@click.option("--severity", default="info", show_default=True, help="info, warning or error.")
@lake_option
@json_option
def _add(name: str, subject: str, message: str, at: str, severity: str, lake: str, as_json: bool) -> None:
    """Tell of one event, such as `perfkit event add deployed --subject api`."""
    from perfkit.workflows.analyse_selection import parse_moment
    from perfkit.workflows.events import Event, add_event

    show(add_event(lake, Event(parse_moment(at), name, subject, message, severity)), as_json=as_json)


@event_command.command("list")
@click.option("--since", help="How long ago, such as 7 days, or a time with its zone.")
@lake_option
@json_option
def _list(since: str | None, lake: str, as_json: bool) -> None:
    """List events, newest first."""
    _show_events(lake, since, as_json)


def _show_events(lake: str, since: str | None, as_json: bool) -> None:
    from perfkit.workflows.analyse_selection import parse_moment
    from perfkit.workflows.events import list_events

    show(list_events(lake, since=None if since is None else parse_moment(since)), as_json=as_json)
