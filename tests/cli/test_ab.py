"""`perfkit ab`: what it prints, what it exits with, and how it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

Run = Callable[..., Any]

SETTINGS = '[pools.ml]\ngoal = "memory"\n'
NEW = ("ab", "configure", "larger", "--pool", "ml", "--variant", "A", "--variant", "B:goal=latency")


def write_rows(path: Path, *, effect: float = 0.3, split: float = 0.5, **columns: Any) -> None:
    chance = np.random.default_rng(1)
    session = np.repeat(np.arange(200), 10)
    is_b = (chance.random(200) < split)[session]
    latency = 1e6 * chance.lognormal(0, 0.25, 200)[session] * chance.lognormal(0, 0.5, session.size)
    rows = {
        "session": session,
        "variant": np.where(is_b, "B", "A"),
        "latency_ns": latency * np.where(is_b, 1 + effect, 1),
    }
    pl.DataFrame({**rows, **columns}).write_csv(path)


def test_a_bare_file_gets_a_table_a_sentence_and_json(perfkit: Run) -> None:
    write_rows(Path("rows.csv"))
    shown = perfkit("ab", "test", "rows.csv", "--metric", "latency_ns:mean,p95")
    assert shown.exit_code == 0
    assert "Worse: B changes latency_ns mean by +" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    plain = perfkit("ab", "test", "rows.csv", "--metric", "latency_ns:mean,p95", "--json").json()
    assert (plain["verdict"], plain["n"]) == ("worse", 200)
    assert [effect["statistic"] for effect in plain["effects"]] == ["mean", "p95"]


def test_every_option_of_a_test_reaches_the_statistics(perfkit: Run) -> None:
    write_rows(Path("rows.csv"), split=0.8, speed=np.arange(2000.0), kind=["tensor", "text"] * 1000)
    given = {
        "--metric": "latency_ns",
        "--inference": "sequential",
        "--alpha": "1%",
        "--margin": "10%",
        "--shares": "A=0.2,B=0.8",
        "--minimum": "50",
        "--control": "B",
        "--more-is-better": "latency_ns",
    }
    plain = perfkit("ab", "test", "rows.csv", "--json", *(part for pair in given.items() for part in pair)).json()
    assert (plain["inference"], plain["alpha"], plain["margin"], plain["minimum"]) == ("sequential", 0.01, 0.1, 50)
    assert plain["sample_ratio"]["shares"] == {"B": 0.8, "A": 0.2}
    assert (plain["control"], plain["effects"][0]["direction"]) == ("B", "more")
    assert plain["verdict"] == "worse", "A is faster, and more is better"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rows.csv", "--metric", "latency:mean"), "latency"),
        (("rows.csv", "--metric", "latency_ns:median"), "is no metric"),
        (("rows.csv", "--shares", "A"), "'A' is no share; write a variant and its share, such as A=90%"),
        (("rows.csv", "--shares", "A=90%"), "shares"),
        (("rows.csv", "--inference", "peek"), "inference"),
        (("rows.csv", "--alpha", "much"), "much"),
        (("rows.csv", "--unit", "user"), "user"),
        (("rows.csv", "--control", "C"), "C"),
        (("empty.csv",), "the frame has no rows"),
        (("nothing.csv",), "there is no file nothing.csv"),
        (("nothing",), "unknown experiment 'nothing'"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2(perfkit: Run, arguments: tuple[str, ...], message: str) -> None:
    write_rows(Path("rows.csv"))
    Path("empty.csv").write_text("session,variant,latency_ns\n")
    outcome = perfkit("ab", "test", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "error" in perfkit("ab", "test", *arguments, "--json").json()


def test_an_experiment_is_planned_listed_switched_off_and_put_away(perfkit: Run) -> None:
    Path("perfkit.toml").write_text(SETTINGS)
    made = perfkit(*NEW, "--share", "A=90%", "--share", "B=10%", "--variant", "B:margin=2%", "--json").json()
    assert made["plan"]["primary"] == "latency_ns:mean"
    assert 'goal = "latency"\nmargin = "2%"' in made["section"]
    assert Path("perfkit.toml").read_text() == SETTINGS
    assert perfkit("ab", "list", "--json").json()["experiments"][0]["state"] == "planned"
    Path("perfkit.toml").write_text(SETTINGS + made["section"])
    assert perfkit("check").exit_code == 0
    assert "A 90%, B 10%" in perfkit("ab", "list").stdout
    assert perfkit("ab").stdout == perfkit("ab", "list").stdout
    assert perfkit("ab", "--settings", "elsewhere.toml", "list").exit_code == 2
    off = perfkit("ab", "rollback", "larger", "--json").json()
    assert "+enabled = false" in off["patch"]
    still = perfkit("ab", "archive", "larger")
    assert (still.exit_code, "is enabled" in still.stderr) == (2, True)
    Path("perfkit.toml").write_text(SETTINGS)
    assert perfkit("ab", "archive", "larger").exit_code == 0
    assert Path("experiments/archive/larger/larger.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*NEW, "--metric", "p95"), "unknown column 'p95'"),
        ((*NEW, "--segment", "session"), "session tells rows apart and is neither a metric nor a segment"),
        ((*NEW, "--inference", "peek"), "unknown inference 'peek'; allowed: sequential, fixed"),
        ((*NEW, "--variant", "B:gaol=memory"), "unknown key 'gaol'"),
        ((*NEW, "--pool", "mll"), "unknown pool 'mll'"),
        ((*NEW, "--share", "A=90%"), "shares are of A, variants are A, B"),
        (("ab", "configure", "larger"), "name what its variants change"),
        (("ab", "watch", "larger"), "unknown experiment 'larger'"),
        (("ab", "conclude", "larger"), "unknown experiment 'larger'"),
        (("ab", "promote", "larger"), "unknown experiment 'larger'"),
        (("ab", "power", "larger"), "unknown experiment 'larger'"),
        (("ab", "power"), "has no transfers with a session of the last 14 days"),
        (("ab", "power", "--metric", "latency_ns:p50,p95"), "names 2 statistics; name one"),
        (("ab", "stop"), "unknown command of `perfkit ab` 'stop'"),
        (("ab", "list", "--settings", "elsewhere.toml"), "there is no such file"),
    ],
)
def test_every_command_refuses_what_it_cannot_use(perfkit: Run, arguments: tuple[str, ...], message: str) -> None:
    Path("perfkit.toml").write_text(SETTINGS)
    outcome = perfkit(*arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_an_experiment_without_data_says_what_is_missing(perfkit: Run) -> None:
    Path("perfkit.toml").write_text(SETTINGS)
    Path("perfkit.toml").write_text(SETTINGS + perfkit(*NEW, "--json").json()["section"])
    for command in ("watch", "conclude"):
        outcome = perfkit("ab", command, "larger")
        assert outcome.exit_code == 2
        assert "has no transfers of A, B in data/lake (running)" in outcome.stderr
    early = perfkit("ab", "promote", "larger")
    assert early.exit_code == 1
    assert "the experiment is not concluded" in early.stdout


def test_a_look_and_a_conclusion_exit_with_what_they_found(perfkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are tested where they are made; here is what a script learns from them."""
    from perfkit.workflows.experiment import concluding, watching

    class Found:
        problems = ("the sessions are not split as planned",)
        refused = True

        def to_plain(self) -> dict[str, Any]:
            return {"problems": list(self.problems)}

    monkeypatch.setattr(watching, "watch", lambda name, **_: Found())
    monkeypatch.setattr(concluding, "conclude", lambda name, **_: Found())
    assert perfkit("ab", "watch", "x", "--json").exit_code == 0
    assert perfkit("ab", "watch", "x", "--json", "--exit-code").exit_code == 1
    assert perfkit("ab", "conclude", "x", "--json").exit_code == 1
