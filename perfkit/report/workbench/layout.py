"""What JupyterLab shows when it opens: the notebooks at the left, a welcome page and a notebook in the middle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from perfkit.report.workbench.project import Project

__all__ = ["LabFolder", "prepare_folder"]

_WELCOME = "notebooks/README.md"
_FIRST_NOTEBOOK = "notebooks/20_analysis.ipynb"
_WORKSPACE = "default"  # the one that opens without being named
_FOLDER = Path(".perfkit", "jupyterlab")
_NOTIFICATIONS = Path("@jupyterlab", "apputils-extension", "notification.jupyterlab-settings")
_IGNORE_ALL = "# Written by perfkit; what is here is yours alone.\n*\n"


class LabFolder:
    """Where the layout and the settings of a project's JupyterLab are kept, apart from those that the person has."""

    def __init__(self, project: Project) -> None:
        self.root = project.root / _FOLDER
        self.workspaces = self.root / "workspaces"
        self.settings = self.root / "settings"


def prepare_folder(project: Project, own_settings: Path) -> LabFolder:
    """Make the folder ready; a layout and settings that are there already are left as they are.

    Args:
        own_settings: the person's own settings of JupyterLab: the first time they are copied, so that theme and
            shortcuts are the usual ones.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = LabFolder(project)
    folder.root.mkdir(parents=True, exist_ok=True)
    (folder.root.parent / ".gitignore").write_text(_IGNORE_ALL, encoding="utf-8")
    if not folder.settings.exists():
        if own_settings.is_dir():
            shutil.copytree(own_settings, folder.settings)
        quiet = folder.settings / _NOTIFICATIONS
        quiet.parent.mkdir(parents=True, exist_ok=True)
        quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
    if not any(folder.workspaces.glob("*")):
        _write_layout(folder.workspaces)
    return folder


def _write_layout(workspaces: Path) -> None:
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    welcome, notebook = f"markdownviewer-widget:{_WELCOME}", f"notebook:{_FIRST_NOTEBOOK}"
    dock = {"type": "tab-area", "currentIndex": 0, "widgets": [welcome, notebook]}
    browser = ["filebrowser", "running-sessions", "@jupyterlab/toc:plugin"]
    layout = {
        "main": {"dock": dock, "current": welcome},
        "down": {"size": 0, "widgets": []},
        "left": {"collapsed": False, "visible": True, "current": "filebrowser", "widgets": browser},
        "right": {"collapsed": True, "visible": True, "widgets": []},
        "relativeSizes": [0.24, 0.76, 0],
        "top": {"simpleVisibility": True},
    }
    data = {
        "layout-restorer:data": layout,
        "file-browser-filebrowser:cwd": {"path": "notebooks"},
        welcome: {"data": {"path": _WELCOME, "factory": "Markdown Preview"}},
        notebook: {"data": {"path": _FIRST_NOTEBOOK, "factory": "Notebook"}},
    }
    raw = json.dumps({"data": data, "metadata": {"id": _WORKSPACE}})
    WorkspacesManager(str(workspaces)).save(_WORKSPACE, raw)
