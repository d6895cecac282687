"""`perfkit publish`: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (("--history", "--dry-run"), 2, "--history"),
        (("--history", "--rollback"), 2, "--history"),
        (("--settings", "absent.toml"), 2, "perfkit init"),
        (("--version", "3"), 2, "--rollback"),
        (("--rollback", "--version", "0"), 2, "0"),
        (("--run", "no-such-run"), 2, "no-such-run"),
        (("--rollback",), 1, "thresholds.toml"),
        ((), 1, "perfkit bench"),
    ],
)
def test_what_cannot_be_published_is_refused_in_one_line(
    perfkit, arguments: tuple[str, ...], exit_code: int, expected: str
) -> None:
    outcome = perfkit("publish", *arguments)
    assert outcome.stderr.count("\n") == 1
    assert expected in outcome.stderr
    assert outcome.exit_code == exit_code
    assert not Path("thresholds.toml").exists()
