"""How the command line's tests call it: in this process, in a folder of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.cli import main


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """The object on the last line of standard output."""
        return json.loads(self.stdout.splitlines()[-1])


@pytest.fixture
def perfkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        exit_code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(exit_code, captured.out, captured.err)

    return run
