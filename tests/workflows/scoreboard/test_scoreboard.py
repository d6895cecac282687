"""The scoreboard itself: every entry runs, rates are right as far as a small n tells, a seed decides everything."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

import perfkit
from perfkit.cli.app import main
from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.experiments import ab
from perfkit.stats.worlds import ab_traffic
from perfkit.workflows.scoreboard import large, running, scoreboard
from perfkit.workflows.scoreboard.claims import Entry, within
from perfkit.workflows.scoreboard.entries import ENTRIES
from perfkit.workflows.scoreboard.predictions import predicts
from perfkit.workflows.scoreboard.releases import blocked_by_gate, blocked_by_levels
from perfkit.workflows.scoreboard.result import MET, NOT_MET
from perfkit.workflows.scoreboard.sequences import _ESTIMATES, looks

DOCS = Path(__file__).parents[3] / "docs"
QUICK = [entry.name for entry in ENTRIES if not entry.is_measurement]
DEAR = (
    "sequence-null",
    "sequence-stops-mean",
    "sequence-stops-p95",
    "power-mean",
    "power-p95",
    "demand-hours",
    "predictions",
)


def always(seed):
    """A statistic that says yes to even seeds."""
    return {"yes": float(seed % 2 == 0)}


def broken(seed):
    raise ZeroDivisionError("no such thing")


def entries(**runs):
    """Entries for tests by the name of what they run."""
    known = {"always": always, "broken": broken}
    return tuple(
        Entry(name, f"the {name} one", known[name], (within("yes", "yes", 0.4, 0.6),), run_s=0.001, small_runs=count)
        for name, count in runs.items()
    )


def figures(board):
    return [dataclasses.astuple(one) for one in board.figures]


@pytest.fixture
def test_entries(monkeypatch):
    monkeypatch.setattr(running, "ENTRIES", entries(broken=3, always=2000))


def test_every_entry_runs_once():
    """One run each, the dear ones apart: names unique, every claim answered."""
    assert len(set(QUICK)) == len(QUICK)
    names = [name for name in QUICK if name not in DEAR]
    board = scoreboard(only=names, runs=1, processes=1)
    assert not board.failures
    assert {figure.entry for figure in board.figures} == set(names)


def test_a_model_of_few_sends_predicts_roughly():
    found = predicts(5, launches=3, rounds=9)
    # Near 80 % of the medians; of 20 000 sends more than 95 %.
    assert found["within_15"] > 0.5
    assert 0.8 < found["held"] < 0.97
    assert found["worst"] <= found["held"]


def test_a_small_scoreboard_shows_no_gross_error():
    """Margins as wide as this n needs: a rate that is off by a factor of two or three is seen."""
    board = perfkit.scoreboard(only=["ab-null-small", "launches", "quantiles-launches"], runs=150, processes=1)
    for figure in board.figures:
        assert figure.verdict != NOT_MET, figure
        assert figure.n == 150


def test_a_missed_target_is_seen(monkeypatch):
    """Requests taken for sessions: the test that the field gets wrong is told from the right one."""

    def request_by_request(seed):
        traffic = ab_traffic(seed, sessions=150)
        wrong = {**traffic, "session": np.arange(traffic["session"].size)}
        return {"mean": float(ab(wrong, metrics={"latency_ns": ["mean"]}).effects[0].p_value <= 0.05)}

    wrong = Entry("wrong", "requests", request_by_request, (within("rejections", "mean", 0.035, 0.065),), 0.01, 40)
    monkeypatch.setattr(running, "ENTRIES", (wrong,))
    assert scoreboard(processes=1).verdict == NOT_MET


def test_an_entry_that_fails_is_named_and_the_others_go_on(test_entries, tmp_path):
    board = scoreboard(processes=1, output=tmp_path / "board.json")
    assert [(one.entry, one.message) for one in board.failures] == [
        ("broken", "run 0: ZeroDivisionError: no such thing")
    ]
    assert board.figure("always", "yes").verdict == MET
    assert board.verdict == NOT_MET
    assert "broken failed" in str(board)
    written = json.loads((tmp_path / "board.json").read_text("utf-8"))
    assert {**written, "recorded_at": None} == {**json.loads(json.dumps(board.to_plain())), "recorded_at": None}
    with pytest.raises(KeyError, match="broken: yes"):
        board.figure("broken", "yes")


def test_what_is_complete_is_written_before_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(running, "ENTRIES", entries(always=100))
    seen = []
    scoreboard(
        processes=1,
        output=tmp_path / "board.json",
        progress=lambda progress: seen.append((progress.done, progress.total, progress.label)),
    )
    assert seen == [(pytest.approx(0.1), pytest.approx(0.1), "always")]
    assert len(json.loads((tmp_path / "board.json").read_text("utf-8"))["figures"]) == 1


def test_figures_depend_on_the_seed_and_not_on_the_processes(monkeypatch):
    monkeypatch.setattr(running, "_WORTH_PROCESSES_S", 0.0)
    monkeypatch.setattr(running, "_PIECE_S", 0.01)
    many = scoreboard(only=["sample-ratio"], runs=60, processes=2)
    monkeypatch.setattr(running, "_PIECE_S", 1.0)
    one = scoreboard(only=["sample-ratio"], runs=60, processes=1)
    assert figures(many) == figures(one)


def test_another_seed_draws_other_worlds(test_entries):
    first, second = (scoreboard(only=["always"], seed=seed, processes=1).figures[0].value for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("statistic", ["mean", "p95"])
def test_a_look_is_what_ab_makes_of_the_same_rows(statistic):
    traffic = ab_traffic(8, sessions=200, effect=0.1)
    edges = np.array([120, 200])
    for edge, (control, variant) in zip(edges, looks(traffic, edges), strict=True):
        rows = traffic["session"] < edge
        frame = {name: column[rows] for name, column in traffic.items()}
        expected = ab(frame, metrics={"latency_ns": [statistic]}, inference="sequential").effects[0]
        estimate = _ESTIMATES[statistic](control, variant)
        assert math.expm1(estimate.effect) == pytest.approx(expected.relative)
        assert (control.n_units, variant.n_units) == (expected.units_control, expected.units_variant)


def test_levels_are_judged_as_the_gate_judges_the_rows():
    for seed in range(8):
        assert blocked_by_levels(seed, slowdown=0.05) == blocked_by_gate(seed, slowdown=0.05)


def test_time_and_memory_are_measured():
    found = large.measure(1, 20_000, 500)
    assert found["seconds"] > 0
    assert found["bytes"] > 1e6


def test_labelled_series_are_judged(tmp_path):
    random = np.random.default_rng(1)
    for name, step in (("flat", 0.0), ("step", 0.3)):
        values = 100 * (1 + step * (np.arange(80) >= 50)) * (1 + random.normal(0, 0.02, 80))
        rows = "\n".join(f"{row + 1},{value}" for row, value in enumerate(values))
        (tmp_path / f"{name}.csv").write_text(f"index,ms\n{rows}\n", "utf-8")
    (tmp_path / "labels.csv").write_text("dataset,change_point\nflat.csv,0\nstep.csv,50\n", "utf-8")
    board = scoreboard(only=["labelled"], labelled=tmp_path)
    assert [(one.value, one.n, one.verdict) for one in board.figures] == [(1.0, 1, MET), (0.0, 1, MET)]
    (tmp_path / "labels.csv").write_text("dataset,change_point\nflat.csv,20\nstep.csv,0\n", "utf-8")
    board = scoreboard(only=["labelled"], labelled=tmp_path)
    assert [one.verdict for one in board.figures] == [NOT_MET, NOT_MET]


def test_what_is_no_folder_of_series_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"labels\.csv is no file"):
        scoreboard(labelled=tmp_path)
    (tmp_path / "labels.csv").write_text("name\nx\n", "utf-8")
    with pytest.raises(InputError, match="no column dataset, change_point"):
        scoreboard(labelled=tmp_path)
    (tmp_path / "labels.csv").write_text("dataset,change_point\nx.csv,0\n", "utf-8")
    with pytest.raises(InputError, match=r"names x\.csv"):
        scoreboard(labelled=tmp_path)


@pytest.mark.parametrize(("name", "number"), [("runs", 0), ("processes", 0), ("seed", -1)])
def test_numbers_out_of_range_are_refused(name, number):
    with pytest.raises(InputError, match=f"{name} == {number}"):
        scoreboard(**{name: number})


def test_an_unknown_entry_is_refused_with_what_there_is():
    with pytest.raises(UnknownNameError, match="sample-ratio"):
        scoreboard(only=["sample-ration"])


def test_the_command_prints_the_board_and_its_json(test_entries, capsys):
    assert main(["scoreboard", "--only", "always", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plain["verdict"] == MET
    assert main(["scoreboard"]) == 1
    shown = capsys.readouterr().out
    assert "the always one" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["scoreboard", "--only", "nothing"]) == 2


def test_the_page_is_made_of_the_json(test_entries, tmp_path):
    spec = importlib.util.spec_from_file_location("make_scoreboard", DOCS / "make_scoreboard.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    board = scoreboard(processes=1, output=tmp_path / "board.json")
    read = page.read_scoreboard(json.loads((tmp_path / "board.json").read_text("utf-8")))
    assert figures(read) == figures(board)
    text = page.scoreboard_page(read)
    assert "## The always one" in text
    assert "| 2,000 | 40 to 60% | met |" in text
    assert "`broken` failed: run 0: ZeroDivisionError" in text
    again = dataclasses.replace(read, figures=tuple(one for one in read.figures if one.entry == "always"))
    updated = page.updated_page(text.replace("| 40 to 60% | met |", "| 40 to 60% | not met |"), again)
    assert "| 2,000 | 40 to 60% | met |" in updated
    assert updated.count("## The always one") == 1
    assert board.sentence.partition(" at this n")[0] in updated
    assert all(f"`--only {entry}`" in updated for entry in {one.entry for one in board.figures})
