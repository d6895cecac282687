"""`perfkit learn`: what it says where there is little to learn from, and versions listed and brought back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.learn.models import train
from perfkit.workflows.learning.versions import current_version, keep_version


def test_with_too_little_it_says_so_and_the_curves_apply(perfkit: Callable[..., Any]) -> None:
    learned = perfkit("learn", "--json")
    assert learned.exit_code == 0
    assert (learned.json()["verdict"], learned.json()["n"]) == ("not kept", 0)
    assert "a model needs 1000: the curves apply" in perfkit("learn").stdout


def test_versions_are_listed_and_brought_back(perfkit: Callable[..., Any]) -> None:
    assert "trains the first version" in perfkit("learn", "--history").stdout
    model = train({"method": ["uds"] * 60, "payload_bytes": [1024, 4096, 65536] * 20, "latency_ns": [9e3] * 60})
    for _ in range(3):
        keep_version(model, "data/models")
    assert perfkit("learn", "--history", "--json").json()["standing"]["version"] == 3
    assert perfkit("learn", "--rollback", "--json").json()["standing"]["version"] == 2
    assert perfkit("learn", "--rollback", "--version", "1").exit_code == 0
    standing = current_version(Path("data/models"))
    assert standing is not None
    assert standing.version == 1
    assert perfkit("learn", "--rollback").exit_code == 2
    assert perfkit("learn", "--rollback", "--version", "9").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--history", "--rollback"), "exclude each other"),
        (("--dry-run", "--publish"), "exclude each other"),
        (("--version", "2"), "--rollback"),
        (("--every", "1min"), "--watch"),
        (("--watch", "--every", "soon"), "soon"),
        (("--settings", "absent.toml"), "no such file"),
    ],
)
def test_bad_input_ends_with_two(perfkit: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    failed = perfkit("learn", *arguments)
    assert failed.exit_code == 2
    assert message in failed.stderr
