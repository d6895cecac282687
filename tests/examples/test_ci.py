"""The example pipelines are YAML, and every command in them exists with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from perfkit.cli.app import COMMANDS, commands
from perfkit.measurement.presets import PRESETS

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"
FILES = sorted(EXAMPLES.glob("*.yml"))


def scripts(value: Any) -> Iterator[str]:
    """Every line of shell in a pipeline."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "run":
                yield from str(inner).splitlines()
            elif key == "script":
                yield from inner
            else:
                yield from scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_pipeline_measures_twice_and_gates_with_commands_that_exist(file: Path) -> None:
    lines = list(scripts(yaml.safe_load(file.read_text())))
    found = [shlex.split(match[1]) for line in lines if (match := re.search(r"bin/perfkit\"? (.+)", line))]
    assert [name for name, *_ in found] == ["bench", "bench", "gate"]
    for name, *arguments in found:
        assert name in COMMANDS
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        context = command.make_context(name, list(arguments))
        assert context.params.get("preset", "quick") in PRESETS


def test_there_is_one_for_each_pipeline_that_is_described() -> None:
    described = set(re.findall(r"^\| `([\w.-]+)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert described == {file.name for file in FILES} == {"github-actions.yml", "gitlab-ci.yml"}
