"""What holds for every command: help, exit codes, one clear line on failure, a quick start."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import perfkit.workflows.doctor
from perfkit.cli.app import COMMANDS, commands
from perfkit.cli.output import Interrupted, interruptible, progress_bar, to_json
from perfkit.cli.reference import reference
from perfkit.errors import InputError, LakeError
from perfkit.report.results import PipelineProgress

CONTEXT = click.Context(commands, info_name="perfkit")


def fail_doctor(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(perfkit.workflows.doctor, "diagnose", fail)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(perfkit, name: str) -> None:
    command = commands.get_command(CONTEXT, name)
    assert command is not None
    assert command.name == name
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"perfkit {name} {parameter.opts[0]} has no help"
    assert any("--json" in parameter.opts for parameter in command.params)
    outcome = perfkit(name, "--help")
    assert outcome.exit_code == 0
    assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_the_overview_lists_every_command(perfkit) -> None:
    outcome = perfkit("--help")
    assert outcome.exit_code == 0
    assert all(f"  {name} " in outcome.stdout for name in COMMANDS)
    assert "..." not in outcome.stdout.partition("Commands:")[2]


def test_without_a_command_the_overview_is_shown_and_the_input_was_wrong(perfkit) -> None:
    outcome = perfkit()
    assert outcome.exit_code == 2
    assert "Commands:" in outcome.stdout + outcome.stderr


def test_the_version_is_that_of_the_package(perfkit) -> None:
    from importlib import metadata

    assert perfkit("--version").stdout == f"perfkit {metadata.version('perfkit')}\n"


def test_an_unknown_command_is_answered_with_the_nearest_one(perfkit) -> None:
    outcome = perfkit("doctro")
    assert outcome.exit_code == 2
    assert "Did you mean 'doctor'?" in outcome.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_wrong_input_in_one_line(perfkit, name: str) -> None:
    outcome = perfkit(name, "--bananas")
    assert outcome.exit_code == 2
    assert outcome.stderr.count("\n") == 1
    assert "--bananas" in outcome.stderr


@pytest.mark.parametrize(("error", "exit_code"), [(InputError("no such thing"), 2), (LakeError("the disk is full"), 1)])
def test_a_failure_is_one_line_and_an_exit_code(perfkit, monkeypatch, error: Exception, exit_code: int) -> None:
    fail_doctor(monkeypatch, error)
    outcome = perfkit("doctor")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (exit_code, "", f"perfkit: {error}\n")


def test_with_json_a_failure_is_an_object_too(perfkit, monkeypatch) -> None:
    fail_doctor(monkeypatch, LakeError("the disk is full"))
    outcome = perfkit("doctor", "--json")
    assert outcome.exit_code == 1
    assert outcome.json() == {"error": {"kind": "LakeError", "message": "the disk is full"}}


def test_a_defect_is_not_dressed_up_as_wrong_input(perfkit, monkeypatch) -> None:
    fail_doctor(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        perfkit("doctor")


def test_ctrl_c_leaves_with_130_and_a_sentence(perfkit, monkeypatch) -> None:
    fail_doctor(monkeypatch, KeyboardInterrupt())
    outcome = perfkit("doctor")
    assert outcome.exit_code == 130
    assert "interrupted; nothing was changed" in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_command_says_what_it_kept(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="two launches are kept") as raised, interruptible("two launches are kept"):
        os.kill(os.getpid(), number)
    assert raised.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_progress_where_no_person_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        assert progress is None
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_shows_what_is_done_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress_bar() as progress:
        assert progress is not None
        progress(PipelineProgress(1, 2, "second notebook", 75.0))
        for _ in range(100):
            progress(PipelineProgress(1, 2, "drawn too often", None))
    assert "second notebook" in terminal.getvalue()
    assert "75s left" in terminal.getvalue()
    assert terminal.getvalue().count("drawn too often") <= 2


def test_json_is_strict_and_on_one_line() -> None:
    assert (
        to_json({"a": [1, float("nan")], "b": {"c": (float("-inf"), "µ\n")}})
        == '{"a": [1, null], "b": {"c": [null, "µ\\n"]}}'
    )


def test_the_reference_page_is_in_step_with_the_help() -> None:
    page = Path(__file__).parents[2] / "docs/reference/cli.md"
    assert page.read_text() == reference(), "run `make cli-reference`"


def test_starting_loads_neither_progress_bars_nor_analytics() -> None:
    code = (
        "import sys; from perfkit.cli import main; main(['doctor', '--help']); "
        "print([m for m in ('numpy', 'pyarrow', 'grpc', 'duckdb', 'pandas', 'rich', 'altair') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


def test_the_installed_command_passes_the_exit_code_on() -> None:
    command = Path(sys.executable).with_name("perfkit")
    finished = subprocess.run([command, "doctro"], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
