"""`perfkit forecast`: one JSON object, and exit codes that say whose fault it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perfkit.cli import main
from perfkit.stats.capacity.series import time_text

LADDER = "concurrency,throughput\n1,64.9\n18,995.9\n36,1652.4\n72,1853.2\n108,1828.9\n144,1775.0\n216,1702.2\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ladder, and 40 days of about 1000 per second."""
    monkeypatch.chdir(tmp_path)
    values = 1000 + np.random.default_rng(1).normal(0, 20, 40)
    rows = "".join(f"{time_text(1.77e9 + 86_400 * day)},{value:.1f}\n" for day, value in enumerate(values))
    Path("demand.csv").write_text(f"time,value\n{rows}")
    Path("ladder.csv").write_text(LADDER)
    return tmp_path


@pytest.mark.usefixtures("files")
def test_ladder_and_demand_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--horizon",
        "3d",
        "--what-if",
        "rate=2x,memory=1GiB",
        "--latency",
        "5ms",
        "--resident",
        "1MiB",
        "--workers",
        "100",
    ]
    assert (
        main(["forecast", "--ladder", "ladder.csv", "--demand", "demand.csv", "--at", "100", "--json", *options]) == 0
    )
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["usl"]["peak_concurrency"] == pytest.approx(96.5, rel=0.01)
    assert len(said["usl"]["intervals"]["alpha"]) == 2
    assert len(said["forecast"]) == 3
    assert said["mase"] > 0
    assert 0.5 < said["coverage_backtest"] <= 1
    assert (said["limit"]["verdict"], said["limit"]["resource"]) == ("not within the horizon", "ladder")
    assert said["what_if"]["verdict"] == "overloaded"
    assert said["at"]["concurrency"] == 100


@pytest.mark.usefixtures("files")
def test_json_lists_every_warning_once_at_the_top(capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.csv").write_text("".join(Path("demand.csv").read_text().splitlines(keepends=True)[:12]))
    Path("rising.csv").write_text("concurrency,throughput\n1,10\n2,19\n4,36\n8,66\n")
    given = ["--ladder", "rising.csv", "--demand", "short.csv", "--what-if", "size=2x"]
    assert main(["forecast", *given, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    parts = [one for name in ("usl", "demand", "bottleneck", "what_if") for one in said[name]["warnings"]]
    assert said["usl"]["warnings"]
    assert said["demand"]["warnings"]
    assert set(parts) <= set(said["warnings"])
    assert len(said["warnings"]) == len(set(said["warnings"]))
    assert main(["forecast", *given]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count(said["demand"]["warnings"][0]) == 1


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ladder", "ladder.csv", "--at", "400"], "beyond 1.3 times"),
        (["--ladder", "demand.csv"], "lacks the columns concurrency and throughput; it has time, value"),
        (["--demand", "none.csv"], "is no file"),
        (["--demand", "demand.csv", "--horizon", "soon"], "duration 'soon' cannot be read"),
        (["--demand", "demand.csv", "--what-if", "speed=2x"], "unknown change 'speed'"),
        ([], "nothing to forecast from"),
    ],
)
def test_bad_input_is_exit_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
