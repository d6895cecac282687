"""`perfkit init` and `perfkit check`."""

from __future__ import annotations

import contextlib
import resource
import signal
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """While it lasts no file can grow beyond 100 bytes, which to a writer looks like a disk that fills up."""

    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)

    return limited


def test_init_writes_commented_settings_that_check_accepts(perfkit) -> None:
    outcome = perfkit("init")
    assert outcome.exit_code == 0
    text = Path("perfkit.toml").read_text()
    assert tomllib.loads(text)["pools"]["default"]["goal"] == "balanced"
    assert "#" in text
    assert perfkit("check").exit_code == 0


def test_init_leaves_an_existing_file_as_it_is_unless_forced(perfkit) -> None:
    Path("perfkit.toml").write_text("# mine\n")
    outcome = perfkit("init")
    assert outcome.exit_code == 2
    assert "--force" in outcome.stderr
    assert Path("perfkit.toml").read_text() == "# mine\n"
    assert perfkit("init", "--force").exit_code == 0
    assert Path("perfkit.toml").read_text() != "# mine\n"


def test_init_names_the_file_as_json(perfkit) -> None:
    assert perfkit("init", "other.toml", "--json").json() == {"path": "other.toml"}


@pytest.mark.parametrize("path", ["missing/perfkit.toml", "."])
def test_init_refuses_places_where_no_file_can_be(perfkit, path: str) -> None:
    outcome = perfkit("init", path)
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("perfkit: ")
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize(("force", "before"), [([], None), (["--force"], None), (["--force"], "# mine\n")])
def test_init_on_a_full_disk_changes_nothing(perfkit, full_disk, force: list[str], before: str | None) -> None:
    if before is not None:
        Path("perfkit.toml").write_text(before)
    with full_disk():
        outcome = perfkit("init", *force)
    assert outcome.exit_code == 1
    assert "make room" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert {path.name: path.read_text() for path in Path().iterdir()} == ({"perfkit.toml": before} if before else {})


def test_init_leaves_nothing_but_its_file(perfkit) -> None:
    perfkit("init")
    perfkit("init")
    perfkit("init", "--force")
    assert [path.name for path in Path().iterdir()] == ["perfkit.toml"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[engine\n", "perfkit.toml:1:8: not TOML"),
        ("[engine]\nmode = decide\n", "perfkit.toml:2:8: not TOML: Invalid value; expected a value such as 'text'"),
        ("[pools.default\ngoal = 1\n", "close the header"),
        ("[pools.default]\ngoal: latency\n", "perfkit.toml:2:5: not TOML: Expected '=' "),
        ("[pools.default]\ngoal = 'latency\n", "close the text with the quotes that it began with"),
        ("[pools.default]\nmethods = ['uds' 'grpc']\n", "separate the values by commas"),
        ('[engine]\nmode = "guess"\n', "perfkit.toml:2:"),
        ('[pools.default]\ngoal = "latencyy"\n', "latency"),
        ('[pools.default]\nmethods = ["grcp"]\n', "grpc"),
    ],
)
def test_check_names_the_place_and_what_is_allowed(perfkit, text: str, expected: str) -> None:
    Path("perfkit.toml").write_text(text)
    outcome = perfkit("check")
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_check_without_files_says_that_the_defaults_apply(perfkit) -> None:
    outcome = perfkit("check", "--json")
    assert outcome.exit_code == 0
    notes = [finding for finding in outcome.json()["findings"] if finding["state"] == "note"]
    assert [finding["file"] for finding in notes] == ["perfkit.toml", "thresholds.toml"]
    assert "the defaults apply" in notes[0]["message"]
    assert "perfkit init" in notes[0]["message"]


def test_check_of_a_missing_file_says_how_to_make_one(perfkit) -> None:
    outcome = perfkit("check", "absent.toml")
    assert outcome.exit_code == 2
    assert "absent.toml" in outcome.stderr
    assert "perfkit init" in outcome.stderr
