"""`perfkit bench`: what it refuses, and what it measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfkit.cli.measure import read_budget
from perfkit.errors import InputError
from perfkit.workflows.ladder_result import LadderPoint, LadderResult


@pytest.mark.parametrize(
    ("budget", "background", "expected"),
    [
        (None, False, (None, None)),
        ("3min", False, (180.0, None)),
        ("3min", True, (180.0, 0.05)),
        ("2%", True, (None, 0.02)),
        (None, True, (None, 0.05)),
    ],
)
def test_a_budget_is_a_time_or_in_the_background_a_share(
    budget: str | None, background: bool, expected: tuple[float | None, float | None]
) -> None:
    assert read_budget(budget, background=background) == expected


@pytest.mark.parametrize(("budget", "background"), [("5%", False), ("0s", False), ("soon", False), ("200%", True)])
def test_an_unreadable_budget_is_refused(budget: str, background: bool) -> None:
    with pytest.raises(InputError, match=budget):
        read_budget(budget, background=background)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--preset", "quik"), "Did you mean 'quick'?"),
        (("--methods", "uds,grcp"), "Did you mean 'grpc'?"),
        (("--methods", ","), "--methods"),
        (("--sizes", "1KiB,10Mbit"), "10Mbit"),
        (("--sizes", ","), "--sizes"),
        (("--sizes", "1KiB,0"), "--sizes 1KiB,0"),
        (("--budget", "5%"), "--background"),
        (("--budget", "soon"), "soon"),
        (("--scenarios", "absent.toml"), "absent.toml"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_measured(perfkit, arguments: tuple[str, ...], expected: str) -> None:
    outcome = perfkit("bench", *arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not Path("data").exists()


@pytest.mark.parametrize("text", ["[broken\n", "bananas = 3\n", '[[scenario]]\nsize = "1KiB"\nmethod = "grcp"\n'])
def test_a_scenario_file_that_cannot_be_used_is_named_with_its_place(perfkit, text: str) -> None:
    Path("mine.toml").write_text(text)
    outcome = perfkit("bench", "--scenarios", "mine.toml")
    assert outcome.exit_code == 2
    assert "mine.toml" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_malformed_toml_in_a_scenario_file_is_named_with_line_column_and_what_was_expected(perfkit) -> None:
    Path("mine.toml").write_text("[[scenario]]\nmethod = uds\n")
    outcome = perfkit("bench", "--scenarios", "mine.toml")
    assert outcome.exit_code == 2
    assert "mine.toml:2:10: not TOML: Invalid value; expected a value such as 'text'" in outcome.stderr


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the measurement was asked for; it ends at once, interrupted."""
    asked: list[dict[str, Any]] = []

    def bench(**wanted: Any) -> Interrupted:
        asked.append(wanted)
        return Interrupted()

    monkeypatch.setattr("perfkit.workflows.measure.bench", bench)
    return asked


class Interrupted:
    """The result of a measurement that Ctrl-C ended."""

    status = "interrupted"

    def to_plain(self) -> dict[str, str]:
        return {"status": self.status}

    def __str__(self) -> str:
        return "Run: interrupted"


def test_every_option_reaches_the_measurement(perfkit, measured) -> None:
    perfkit("bench", "--preset", "quick", "--methods", "uds, shm_pool", "--sizes", "1KiB,10MiB", "--no-resume")
    perfkit("bench", "--background", "--budget", "2%", "--scenarios", "mine.toml", "--lake", "elsewhere")
    assert measured == [
        {
            "preset": "quick",
            "methods": ("uds", "shm_pool"),
            "sizes": [1024, 10485760],
            "scenarios": None,
            "budget_s": None,
            "background_share": None,
            "lake": "data/lake",
            "progress": None,
            "resume": False,
        },
        {
            "preset": "default",
            "methods": None,
            "sizes": None,
            "scenarios": Path("mine.toml"),
            "budget_s": None,
            "background_share": 0.02,
            "lake": "elsewhere",
            "progress": None,
            "resume": True,
        },
    ]


def test_an_interrupted_measurement_shows_what_it_has_and_says_what_is_kept(perfkit, measured) -> None:
    outcome = perfkit("bench", "--json")
    assert outcome.exit_code == 130
    assert outcome.json() == {"status": "interrupted"}
    assert "kept in data/lake" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--concurrency", "1,2"), "give --ladder"),
        (("--output", "ladder.csv"), "give --ladder"),
        (("--ladder", "--background"), "--background"),
        (("--ladder", "--preset", "quick"), "--preset"),
        (("--ladder", "--concurrency", "1,0"), "'0'"),
        (("--ladder", "--concurrency", "1,many"), "'many'"),
        (("--ladder", "--concurrency", "1,65"), "'65'"),
        (("--ladder", "--methods", "grcp"), "Did you mean 'grpc'?"),
    ],
)
def test_a_ladder_that_cannot_be_measured_is_refused(perfkit, arguments: tuple[str, ...], expected: str) -> None:
    outcome = perfkit("bench", *arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert not Path("data").exists()


def test_a_ladder_is_shown_and_written_down(perfkit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def measure(**arguments: Any) -> LadderResult:
        asked.update(arguments)
        points = [LadderPoint("uds", 1024, n, 100.0, launch, 0, n * 1e7) for n in (1, 2, 4, 8) for launch in (0, 1)]
        return LadderResult("r", "complete", tuple(points), 1.0)

    monkeypatch.setattr("perfkit.workflows.ladder.bench_ladder", measure)
    outcome = perfkit(
        "bench",
        "--ladder",
        "--sizes",
        "1KiB",
        "--concurrency",
        "1,2,4,8",
        "--budget",
        "2s",
        "--output",
        "l.csv",
        "--json",
    )
    assert outcome.exit_code == 0
    found = json.loads(outcome.stdout.splitlines()[-1])
    assert found["laws"][0]["usl"]["alpha"] == pytest.approx(1, rel=1e-3)
    assert found["little"]["verdict"] == "holds"
    assert Path("l.csv").read_text().startswith("concurrency,throughput,")
    assert (asked["sizes"], asked["concurrency"], asked["budget_s"]) == ([1024], [1, 2, 4, 8], 2.0)
    assert "methods" not in asked
