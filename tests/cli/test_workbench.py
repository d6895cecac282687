"""`perfkit lab` and `perfkit dashboard`: what they refuse before anything is served."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import pytest

from perfkit.report.workbench.layout import prepare_folder
from perfkit.report.workbench.project import Project, find_notebook, find_project
from perfkit.report.workbench.serving import choose_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The folder in which the command runs, with the notebooks."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    monkeypatch.chdir(root)
    return Project(root)


@pytest.mark.parametrize("command", [("lab",), ("dashboard", "20_analysis")])
def test_outside_of_a_project_it_says_where_the_notebooks_come_from(perfkit, command: tuple[str, ...]) -> None:
    outcome = perfkit(*command)
    assert outcome.exit_code == 2
    assert "holds notebooks/20_analysis.ipynb" in outcome.stderr
    assert "git clone" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("20_analysys",), "Did you mean '20_analysis'?"),
        (("20_analysis", "-p", "sinc=24h"), "Did you mean 'since'?"),
        (("20_analysis", "-p", "since"), "name=value"),
        (("30_tune", "-p", "replay_budget_s=long"), "must be of type float"),
        (("30_tune", "-p", "dry_run=false"), "would publish whenever somebody opens the page"),
        (("10_benchmark",), "serve 20_analysis, which shows what was measured, or add --measure"),
        (("20_analysis", "--port", "70000"), "0<=x<=65535"),
    ],
)
def test_a_dashboard_is_refused_before_anything_starts(
    perfkit, project: Project, arguments: tuple[str, ...], expected: str
) -> None:
    outcome = perfkit("dashboard", *arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "module"), [(("lab",), "jupyterlab.labapp"), (("dashboard", "20_analysis"), "voila.app")]
)
def test_a_missing_part_is_named_with_its_remedy(
    perfkit, project: Project, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    outcome = perfkit(*command)
    assert outcome.exit_code == 1
    assert module.partition(".")[0] in outcome.stderr
    assert "pip install 'perfkit[lab]'" in outcome.stderr


def test_a_browser_is_sent_to_the_dashboard_without_its_token_among_the_arguments(
    perfkit, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Voila:
        """As much of it as serving needs: it is started, says that it is there, and ends."""

        port = 1
        identity_provider = SimpleNamespace(token="SECRET")
        voila_configuration = SimpleNamespace()

        def initialize(self, _arguments: list[str]) -> None:
            pass

        def start(self) -> None:
            self.launch_browser()  # type: ignore[attr-defined]

    opened = []

    def open_page(address: str) -> None:
        page = Path(address.removeprefix("file://"))
        opened.append(
            (address, page, page.read_text(), page.stat().st_mode & 0o777, page.parent.stat().st_mode & 0o777)
        )

    monkeypatch.setitem(sys.modules, "voila.app", SimpleNamespace(Voila=Voila))  # type: ignore[arg-type]
    monkeypatch.setattr(webbrowser, "open", open_page)
    for variable in ("JUPYTER_PATH", "PERFKIT_NOTEBOOKS"):
        monkeypatch.setenv(variable, "")  # what it sets is taken back
    assert "?token=SECRET" in perfkit("dashboard", "20_analysis").stdout
    ((address, page, text, mode, folder_mode),) = opened
    assert "SECRET" not in address
    assert 'content="0; url=http://127.0.0.1:1/?token=SECRET"' in text
    assert (mode, folder_mode) == (0o600, 0o700)
    assert not page.parent.exists()


def test_a_port_that_was_asked_for_and_is_taken_is_refused(perfkit, project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = perfkit("dashboard", "20_analysis", "--port", str(port))
        assert outcome.exit_code == 2
        assert f"port {port} is taken" in outcome.stderr
        assert choose_port(None, port) > port  # nobody asked for this one: the next


def test_a_project_is_found_from_any_folder_in_it(project: Project) -> None:
    deep = project.root / "data" / "lake"
    deep.mkdir(parents=True)
    assert find_project(deep) == project
    for name in ("20_analysis", "20_analysis.ipynb", "notebooks/20_analysis.ipynb"):
        assert find_notebook(project, name) == project.notebooks / "20_analysis.ipynb"


def test_the_layout_is_written_once_and_own_settings_are_copied_once(project: Project, tmp_path: Path) -> None:
    own = tmp_path / "own-settings"
    theme = Path("@jupyterlab", "apputils-extension", "themes.jupyterlab-settings")
    (own / theme).parent.mkdir(parents=True)
    (own / theme).write_text('{"theme": "JupyterLab Dark"}')
    folder = prepare_folder(project, own)
    (layout,) = folder.workspaces.iterdir()
    tabs = json.loads(layout.read_text())["data"]["layout-restorer:data"]["main"]["dock"]["widgets"]
    for tab in tabs:  # what it opens is there
        assert (project.root / tab.partition(":")[2]).is_file()
    assert "Dark" in (folder.settings / theme).read_text()
    news = folder.settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    assert json.loads(news.read_text()) == {"fetchNews": "false", "checkForUpdates": False}
    layout.write_text("{}")
    (folder.settings / theme).write_text("{}")
    prepare_folder(project, own)
    assert (layout.read_text(), (folder.settings / theme).read_text()) == ("{}", "{}")
    assert (project.root / ".perfkit" / ".gitignore").read_text().endswith("*\n")
    assert not (own / news.relative_to(folder.settings)).exists()
