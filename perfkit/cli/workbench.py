"""`perfkit lab` and `perfkit dashboard`: the notebooks for people, in a browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfkit.cli.options import json_option
from perfkit.cli.output import to_json
from perfkit.cli.pipeline import read_parameters

if TYPE_CHECKING:
    from perfkit.report.workbench.serving import Address

__all__ = ["dashboard_command", "lab_command"]

_PORT = click.IntRange(0, 65535)
_browser_option = click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")


@click.command("lab")
@click.option("--port", type=_PORT, help="TCP port; 0 takes any.  [default: 8888 or the next free one]")
@_browser_option
@json_option
def lab_command(port: int | None, no_browser: bool, as_json: bool) -> None:
    """Open the project's notebooks in JupyterLab.

    Works from any folder of the project. The layout and the settings are kept
    in .perfkit/ of the project, apart from those of your other JupyterLab. It
    answers on this machine only, asks nothing of the internet, and ends with
    Ctrl-C, its kernels too.
    """
    from perfkit.report.workbench.lab import serve_lab
    from perfkit.report.workbench.project import find_project

    project = find_project(Path.cwd())

    def ready(address: Address) -> None:
        _say(address, f"JupyterLab on {project.root}", as_json=as_json)

    serve_lab(project, port=port, open_browser=not no_browser, ready=ready)


def _say(address: Address, what: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(dataclasses.asdict(address)))
    else:
        click.echo(f"{what}\n\n    {address.url}\n\nCtrl-C ends it.")


@click.command("dashboard")
@click.argument("notebook")
@click.option("-p", "--parameter", "parameters", multiple=True, help="A notebook's parameter, as name=value.")
@click.option("--measure", is_flag=True, help="Allow a notebook that measures anew for each page that is opened.")
@click.option("--port", type=_PORT, help="TCP port; 0 takes any.  [default: 8866 or the next free one]")
@_browser_option
@json_option
def dashboard_command(
    notebook: str, parameters: tuple[str, ...], measure: bool, port: int | None, no_browser: bool, as_json: bool
) -> None:
    """Serve a notebook as an app, without its code.

    NOTEBOOK is one of the project's, such as 20_analysis. Each page that is
    opened runs it anew, on what is recorded by then, in a kernel of its own
    that ends with the page. It answers on this machine only, asks nothing of
    the internet, and ends with Ctrl-C.
    """
    given = read_parameters(parameters)
    from perfkit.report.workbench.dashboard import dashboard_parameters, serve_dashboard
    from perfkit.report.workbench.project import find_notebook, find_project

    source = find_notebook(find_project(Path.cwd()), notebook)
    checked = dashboard_parameters(source, given, measure=measure)

    def ready(address: Address) -> None:
        _say(address, f"{source.stem} as an app", as_json=as_json)

    serve_dashboard(source, checked, port=port, open_browser=not no_browser, ready=ready)
