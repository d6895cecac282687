"""Serve a notebook as an app by Voila: its code is hidden, and each page runs it anew in a kernel of its own."""

from __future__ import annotations

import html
import logging
import os
import tempfile
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, ReportError, UnknownNameError
from perfkit.report.notebook.rendering import NOTEBOOKS_VARIABLE
from perfkit.report.running.parameters import declared_parameters, typed_value
from perfkit.report.running.recomputing import VERSIONS_PARAMETER
from perfkit.report.workbench.serving import LOOPBACK, Address, choose_port, import_server

__all__ = ["dashboard_parameters", "serve_dashboard"]

_DEFAULT_PORT = 8866
_PUBLISHING_PARAMETER = "dry_run"
_TEMPLATES = Path(__file__).with_name("share")
# What widgets need. Others expect a whole JupyterLab around them.
_EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
_IDLE_S = 600  # of a page that was closed without saying so


def dashboard_parameters(notebook: Path, given: Mapping[str, Any], *, measure: bool = False) -> dict[str, Any]:
    """What the notebook is run with.

    Args:
        notebook: its file.
        given: values by name, as text or as what they are.
        measure: allow a notebook that measures, which every opened page then does.

    Raises:
        UnknownNameError: the notebook has no such parameter.
        InputError: a value has the wrong type; or the notebook measures, or would publish, whenever somebody looks.
    """
    declared = declared_parameters(notebook)
    for name in given:
        if name not in declared:
            raise UnknownNameError("parameter", name, declared)
    checked = {name: typed_value(name, value, declared[name], notebook.parent) for name, value in given.items()}
    if VERSIONS_PARAMETER not in declared and not measure:
        raise InputError(
            f"{notebook.stem} measures anew whenever somebody opens its page, and two pages would disturb each other; "
            "serve 20_analysis, which shows what was measured, or add --measure"
        )
    if checked.get(_PUBLISHING_PARAMETER) is False:
        raise InputError(
            f"{_PUBLISHING_PARAMETER}=false would publish whenever somebody opens the page; leave it out, and publish "
            "with `perfkit publish` or `perfkit run tune`"
        )
    return checked


def serve_dashboard(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    port: int | None = None,
    open_browser: bool = True,
    ready: Callable[[Address], None],
) -> None:
    """Serve the notebook until the process is interrupted or asked to terminate; its kernels end with it.

    Args:
        notebook: its file; it runs in its own folder, and each page takes it as it is then.
        parameters: what `dashboard_parameters` returned.
        port: TCP port on the loopback interface; 0 takes any, None 8866 or the next free one.
        open_browser: open it for the person.
        ready: called once it answers.

    Raises:
        InputError: the port is taken.
        ReportError: Voila is not installed, or it could not start.
    """
    module = import_server("voila.app", "perfkit dashboard")
    chosen = choose_port(port, _DEFAULT_PORT)
    os.environ[NOTEBOOKS_VARIABLE] = str(notebook.parent)
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(_TEMPLATES), os.environ.get("JUPYTER_PATH"))))

    # A folder that only this user may read, as Jupyter does it: everybody can see the arguments of a browser.
    opening = tempfile.TemporaryDirectory(prefix="perfkit-")

    class Dashboard(module.Voila):  # type: ignore[misc, name-defined]
        """Voila, which says itself where it answers and opens it with its token."""

        def launch_browser(self) -> None:
            address = Address(f"http://{LOOPBACK}:{self.port}/?token={self.identity_provider.token}", self.port)
            ready(address)
            if open_browser:
                webbrowser.open(_redirecting_page(Path(opening.name), address.url).as_uri())

    logging.getLogger("tornado").setLevel(logging.ERROR)  # as the server's own log
    server = Dashboard()
    with opening:
        try:
            server.initialize([*(f"--{name}={value}" for name, value in _options(chosen).items()), str(notebook)])
            server.voila_configuration.prelaunch_hook = _injecting(parameters)
            server.voila_configuration.file_allowlist = []  # no file of the folder is served
            server.voila_configuration.extension_allowlist = list(_EXTENSIONS)
            server.start()
        except SystemExit as error:  # Voila has said why
            raise ReportError("the dashboard could not start; the lines above say why") from error


def _redirecting_page(folder: Path, url: str) -> Path:
    page = folder / "open.html"
    page.touch(mode=0o600)
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(url)}">', encoding="utf-8")
    return page


def _injecting(parameters: Mapping[str, Any]) -> Callable[..., Any]:
    def inject(request: Any, *, notebook: Any, cwd: str) -> Any:
        from papermill.parameterize import parameterize_notebook

        _ = request.xsrf_token  # sets the cookie without which the page, when it is closed, could not end its kernel
        if not parameters:
            return notebook
        notebook.metadata.setdefault("papermill", {})
        for cell in notebook.cells:
            cell.metadata.setdefault("tags", [])  # papermill expects them everywhere
        return parameterize_notebook(notebook, dict(parameters), kernel_name="python3", language="python")

    return inject


def _options(port: int) -> dict[str, Any]:
    return {
        "Voila.ip": LOOPBACK,
        "Voila.port": port,
        "Voila.port_retries": 0,
        "Voila.open_browser": True,
        "Voila.auto_token": True,
        "Application.log_level": "ERROR",
        "VoilaConfiguration.template": "perfkit",
        "VoilaConfiguration.show_tracebacks": True,  # for the page, which shows what was raised and folds the rest
        "KernelManager.transport_encryption": "auto",
        "MappingKernelManager.cull_idle_timeout": _IDLE_S,
        "MappingKernelManager.cull_interval": 60,
    }
