"""Pipelines in `perfkit.toml`: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.config.check import check_files as check
from perfkit.config.pipelines import EmailSettings, NotifySettings, PipelineSettings, load_pipelines, read_pipelines
from perfkit.config.settings import load_perfkit_toml
from perfkit.errors import ConfigError

NIGHTLY = """\
[pipelines.nightly]
notebooks = ["10_benchmark", "30_tune"]
schedule = "0  3 * * *"
timeout = "30min"
memory_limit = "4GiB"
retries = 1
keep_runs = 30
keep = "90 days"
[pipelines.nightly.parameters]
preset = "quick"
since = 2026-01-31
[pipelines.nightly.grid]
signalling = ["uds", "grpc"]
[pipelines.nightly.notify]
on = ["failure"]
webhook = "https://example.com/hook"
email = { to = ["a@example.com"], sender = "b@example.com", server = "localhost:25", security = "none" }
"""
BARE = '[pipelines.nightly]\nnotebooks = ["10_benchmark"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "perfkit.toml"
    path.write_text(text)
    return path


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, NIGHTLY)
    email = EmailSettings(("a@example.com",), "b@example.com", "localhost:25", "none")
    assert dict(load_pipelines(path)) == {
        "nightly": PipelineSettings(
            notebooks=("10_benchmark", "30_tune"),
            parameters={"preset": "quick", "since": "2026-01-31"},
            grid={"signalling": ("uds", "grpc")},
            schedule="0 3 * * *",
            timeout_s=1800.0,
            memory_limit_bytes=4 * 2**30,
            retries=1,
            keep_runs=30,
            keep_days=90,
            notify=NotifySettings(("failure",), "https://example.com/hook", email),
        )
    }
    assert load_perfkit_toml(path).engine.mode == "decide"
    assert "nightly" in " ".join(finding.message for finding in check(path).findings)


def test_without_a_file_or_a_table_there_is_no_pipeline(tmp_path: Path) -> None:
    assert read_pipelines(tmp_path / "none.toml") == {}
    assert load_pipelines(written(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[pipelines.nightly]\n", 1, "notebooks is missing; must be a list of names"),
        (f"{BARE}notebook = 1", 3, "Did you mean 'notebooks'"),
        (f"{BARE}schedule = 'daily'", 3, "five fields of a crontab line"),
        (f"{BARE}timeout = '0s'", 3, "duration of more than 0"),
        (f"{BARE}timeout = 5", 3, "such as '1h'"),
        (f"{BARE}memory_limit = '1MiB'", 3, "from 256MiB"),
        (f"{BARE}retries = true", 3, "whole number from 0"),
        (f"{BARE}keep_runs = 0", 3, "whole number from 1"),
        (f"{BARE}keep = '36h'", 3, "whole days"),
        (f"{BARE}[pipelines.nightly.grid]\npreset = 'quick'", 4, "a list of one value or more"),
        (f"{BARE}[pipelines.nightly.notify]\non = ['failure']", 3, "says nobody to tell"),
        (f"{BARE}[pipelines.nightly.notify]\nwebhook = 'ftp://x'", 4, "http:// or https://"),
        (f"{BARE}[pipelines.nightly.notify]\nwebhook = 'http://x'\non = ['fail']", 5, "allowed: failure, recovery"),
        (f"{BARE}[pipelines.nightly.notify.email]\nto = ['a@b.c']\nsender = 'a@b.c'", 3, "has no server"),
    ],
)
def test_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_pipelines(path)
    assert caught.value.line == line
    assert load_perfkit_toml(path).engine.mode == "decide"  # a service goes on


@pytest.mark.parametrize(
    "line",
    [
        "notify.webhook = 'hooks.example.com/SECRET'",
        'notify.webhook = "https://hooks.example.com/\\nSECRET"',
        "notify.webhook = ['https://hooks.example.com/SECRET']",
        "notify.webhook = https://hooks.example.com/SECRET",
        "notify = 'https://hooks.example.com/SECRET'",
        "notify.webhok = 'https://hooks.example.com/SECRET'",
    ],
)
def test_an_address_that_opens_a_channel_is_in_no_message(tmp_path: Path, line: str) -> None:
    """The index of reports shows the message, and people pass it on."""
    with pytest.raises(ConfigError) as caught:
        load_pipelines(written(tmp_path, f"{BARE}{line}\n"))
    assert "SECRET" not in str(caught.value)


def test_a_parameter_stands_in_the_grid_or_among_the_parameters(tmp_path: Path) -> None:
    twice = f"{BARE}[pipelines.nightly.parameters]\npreset = 'quick'\n[pipelines.nightly.grid]\npreset = ['full']\n"
    with pytest.raises(ConfigError, match="stands among the parameters, too"):
        load_pipelines(written(tmp_path, twice))
