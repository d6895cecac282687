"""`perfkit doctor`: what limits this host."""

from __future__ import annotations

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import show

__all__ = ["doctor_command"]


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Say what limits this host, and the command that fixes it.

    Looks at the kernel, cores, memory limits, huge pages, sockets and versions,
    and says which methods this machine has and why not the others. Changes
    nothing.
    """
    from perfkit.workflows.doctor import diagnose

    show(diagnose(), as_json=as_json)
