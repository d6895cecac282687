"""JupyterLab on a project: at home in its folder, quiet, and gone with Ctrl-C."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfkit.errors import ReportError
from perfkit.report.notebook.rendering import NOTEBOOKS_VARIABLE
from perfkit.report.workbench.layout import LabFolder, prepare_folder
from perfkit.report.workbench.project import Project
from perfkit.report.workbench.serving import LOOPBACK, Address, choose_port, import_server

__all__ = ["serve_lab"]

_DEFAULT_PORT = 8888


def serve_lab(
    project: Project, *, port: int | None = None, open_browser: bool = True, ready: Callable[[Address], None]
) -> None:
    """Serve JupyterLab until the process is interrupted or asked to terminate; its kernels end with it.

    Args:
        project: what is opened.
        port: TCP port on the loopback interface; 0 takes any, None 8888 or the next free one.
        open_browser: open it for the person.
        ready: called once it answers.

    Raises:
        InputError: the port is taken.
        ReportError: JupyterLab is not installed, or it could not start.
    """
    module = import_server("jupyterlab.labapp", "perfkit lab")
    chosen = choose_port(port, _DEFAULT_PORT)
    try:
        folder = prepare_folder(project, Path(module.get_user_settings_dir()))
    except OSError as error:
        raise ReportError(f"the workspace cannot be prepared ({error}); make {project.root} writable") from error
    os.environ[NOTEBOOKS_VARIABLE] = str(project.notebooks)
    options = _options(project, folder, chosen, open_browser)
    try:
        with warnings.catch_warnings(record=True):  # Jupyter's of itself: nothing that its user could change
            server = module.LabApp.initialize_server(argv=[f"--{name}={value}" for name, value in options.items()])
    except SystemExit as error:  # Jupyter has said why
        raise ReportError("JupyterLab could not start; the lines above say why") from error
    address = _address(server)
    server.identity_provider.token_generated = False  # or Jupyter would print the address once more
    server.io_loop.add_callback(lambda: ready(address))
    # Jupyter would ask back on a terminal, and elsewhere leave without ending its kernels.
    signal.signal(signal.SIGINT, lambda *_: server.stop(from_signal=True))
    server.start()


def _options(project: Project, folder: LabFolder, port: int, open_browser: bool) -> dict[str, Any]:
    return {
        "ServerApp.root_dir": project.root,
        "ServerApp.ip": LOOPBACK,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": open_browser,
        "ServerApp.allow_root": True,  # in a container there is nobody else; it answers on the loopback interface only
        "Application.log_level": "ERROR",
        "KernelManager.transport_encryption": "auto",
        "LabApp.workspaces_dir": folder.workspaces,
        "LabApp.user_settings_dir": folder.settings,
        # Nothing is asked of the internet: no news, no look for a newer version, no list of extensions.
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }


def _address(server: Any) -> Address:
    token = server.identity_provider.token
    query = f"?token={token}" if token else ""
    return Address(f"http://{LOOPBACK}:{server.port}{server.base_url}lab{query}", server.port)
