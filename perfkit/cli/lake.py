"""`perfkit drain`: move what was recorded from the journal into the lake."""

from __future__ import annotations

import click

from perfkit.cli.options import json_option, lake_option
from perfkit.cli.output import interruptible, progress_bar, show

__all__ = ["drain_command"]


@click.command("drain")
@lake_option
@json_option
def drain_command(lake: str, as_json: bool) -> None:
    """Move what waits in the journal into the lake.

    Each row exactly once: kill it at any moment, and run it again. Slots of
    processes that are gone are removed; what these lost is told in the lake's
    events. Commands that need fresh rows drain by themselves.
    """
    from perfkit.lake import drain

    with interruptible("what was committed is in the lake, the rest waits in the journal"), progress_bar() as progress:
        result = drain(lake, progress=progress)
    show(result, as_json=as_json)
