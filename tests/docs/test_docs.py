"""The documentation does what it says: commands exist, links resolve, Python runs, pages can be found."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from perfkit.cli import main
from perfkit.cli.app import COMMANDS, commands
from perfkit.config.expression_tree import NAMES, VOCABULARIES
from perfkit.config.fingerprint import FINGERPRINT_KEYS
from perfkit.config.pipelines import _EMAIL_KEYS, _NOTIFY_KEYS
from perfkit.config.pipelines import _KEYS as _PIPELINE_KEYS
from perfkit.config.reference import GROUPS
from perfkit.config.settings import load_perfkit_toml
from perfkit.errors import TransferError
from perfkit.measurement.presets import PRESETS
from perfkit.measurement.scenario_files import _SCENARIO_KEYS, load_sweep
from perfkit.schema import TABLES

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTING = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
"""A block of Python, and what it prints, where a block of text follows at once."""
CHEAP = ("doctor", "plan", "explain", "init", "check", "drain")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for found, text in FENCE.findall(page.read_text()) if found == language]


def shown_commands(page: Path) -> list[list[str]]:
    """Every `perfkit …` command of a page, split: in console blocks and between backticks."""
    lines = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    prose = FENCE.sub("", page.read_text())
    lines += re.findall(r"`(perfkit [^`]+)`", prose)
    return [shlex.split(line)[1:] for line in lines if line.startswith("perfkit ")]


def heading_anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_shown_command_exists_with_its_options(page: Path) -> None:
    context = click.Context(commands)
    for name, *arguments in shown_commands(page):
        if name.startswith("-"):
            assert name in ("--help", "--version")
            continue
        assert name in COMMANDS, f"{page_id(page)} shows `perfkit {name}`, which does not exist"
        command = commands.get_command(context, name)
        assert command is not None
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            inner = command.get_command(context, arguments[0])
            assert inner is not None, f"{page_id(page)} shows `perfkit {name} {arguments[0]}`, which does not exist"
            command, arguments = inner, arguments[1:]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for argument in arguments:
            if argument.startswith("-"):
                option = argument.partition("=")[0]
                assert option in options, f"{page_id(page)} shows `perfkit {name} {option}`, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page_id(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in heading_anchors(linked), f"{page_id(page)} links to {target}: no such heading"


def test_the_tutorial_says_what_its_notebook_says() -> None:
    """The notebook is executed with the others."""
    command = [sys.executable, ROOT / "docs" / "make_tutorial.py"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert TUTORIAL.read_text() == page, "docs/tutorial.md is not what its notebook says: make tutorial"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page != TUTORIAL], ids=page_id)
def test_python_on_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("perfkit.engine"), "disabled", False)  # set back whatever a page does to it
    for shown in blocks(page, "toml"):
        if shown.startswith("# perfkit.toml\n"):
            Path("perfkit.toml").write_text(shown)
    namespace: dict[str, object] = {"__name__": "documentation"}
    everything = ""
    for block, shown in PRINTING.findall(page.read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.parse(block), page_id(page), "exec"), namespace)
        everything += printed.getvalue()
        if shown:  # lines may be folded elsewhere; the page's service lives in /srv/app
            said = "".join(printed.getvalue().split()).replace(str(tmp_path), "/srv/app")
            assert "".join(shown.split()) == said
    assert "print(" not in "".join(blocks(page, "python")) or everything.strip()


@pytest.mark.parametrize("page", [page for page in PAGES if shown_commands(page)], ids=page_id)
def test_cheap_commands_on_a_page_succeed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    in_blocks = [line for block in blocks(page, "console") for line in block.splitlines()]
    for line in in_blocks:
        name, *arguments = shlex.split(line.removeprefix("$ perfkit ")) if line.startswith("$ perfkit ") else [""]
        if name in CHEAP:
            if name == "check":
                main(["init", "--force"])
            assert main([name, *arguments]) == 0, line


def test_every_page_can_be_reached_from_the_overview() -> None:
    overview = ROOT / "docs/README.md"
    reached, ahead = set(), [overview, ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#]+)", FENCE.sub("", page.read_text()))
        ahead += [(page.parent / link).resolve() for link in links if not link.startswith("https://")]
    missing = {page_id(page) for page in PAGES} - {page_id(page) for page in reached}
    assert not missing, f"no link leads to {missing}"


@pytest.mark.parametrize("table", TABLES)
def test_the_page_of_tables_describes_every_column(table: str) -> None:
    page = (ROOT / "docs/reference/observation.md").read_text().partition(f"\n## {table}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    described = [(name, kind, meaning) for name, kind, _, meaning in rows]
    assert described == [(column.name, column.type, column.meaning) for column in TABLES[table]]
    assert {name for name, _, default, _ in rows if default == "required"} == {
        column.name for column in TABLES[table] if column.required
    }


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_place_on_someones_machine(page: Path) -> None:
    assert not re.search(r"/(home|Users|root)/", page.read_text())


def test_the_files_page_describes_every_key_of_the_fingerprint() -> None:
    page = (ROOT / "docs/reference/files.md").read_text().partition("## The fingerprint")[2]
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(FINGERPRINT_KEYS)


def test_the_files_page_is_what_the_reader_of_the_settings_goes_by() -> None:
    page = (ROOT / "docs/reference/files.md").read_text()
    files_page = runpy.run_path(str(ROOT / "docs/make_files_reference.py"))["files_page"]
    assert page == files_page(page), "run `make files-reference`"
    keys = re.findall(r"^\| `((?:[a-z]+)\.[\w.]+)`", page.partition("## thresholds.toml")[0], re.MULTILINE)
    expected = [f"{group.table}.{key.name}" for group in GROUPS for key in group.keys]
    assert [key for key in keys if not key.startswith("pipelines.")] == expected


def test_the_files_page_describes_every_key_of_a_pipeline() -> None:
    page = (ROOT / "docs/reference/files.md").read_text()
    described = {key.rpartition(".")[2] for key in re.findall(r"^\| `(pipelines\.[\w.]+)`", page, re.MULTILINE)}
    assert described == ({*_PIPELINE_KEYS, *_NOTIFY_KEYS} - {"notify", "email"}) | {*_EMAIL_KEYS}


def test_the_files_page_describes_the_language_of_conditions(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/files.md").read_text().partition("### Conditions")[2].partition("### Experiments")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == list(NAMES)
    for name, values in rows:
        if name in VOCABULARIES:
            assert tuple(re.findall(r"'(\w+)'", values)) == VOCABULARIES[name]


def test_the_settings_that_the_files_page_shows_load(tmp_path: Path) -> None:
    shown = blocks(ROOT / "docs/reference/files.md", "toml")
    (tmp_path / "perfkit.toml").write_text("[pools.ml]\n" + "".join(shown))
    settings = load_perfkit_toml(tmp_path / "perfkit.toml")
    assert len(settings.pool("ml").rules) == 2
    assert len(settings.experiments) == 1


def test_the_scenario_file_that_is_shown_can_be_measured(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/measure-your-own-workload.md"
    (shown,) = blocks(page, "toml")
    (tmp_path / "mine.toml").write_text(shown)
    sweep = load_sweep(tmp_path / "mine.toml")
    assert {scenario.method for scenario in sweep.scenarios if scenario.stage == "whole"} == {"uds", "grpc", "shm_pool"}
    rows = re.findall(r"^\| (`.*?) \|", page.read_text().partition("## A scenario file")[2], re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(_SCENARIO_KEYS)


def test_every_preset_is_described() -> None:
    page = (ROOT / "docs/how-to/measure-your-own-workload.md").read_text().partition("## A scenario file")[0]
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(PRESETS)


def test_the_service_page_says_what_every_exception_of_a_transfer_means() -> None:
    page = (ROOT / "docs/how-to/put-perfkit-into-a-service.md").read_text()
    rows = re.findall(r"^\| (`\w+`[^|]*) \|", page.partition("## What each exception means")[2], re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+Error)`", row)}
    errors = {error.__name__ for error in TransferError.__subclasses__() if error.__module__ == "perfkit.errors"}
    assert described == errors | {"InputError", "UnknownNameError"}
