"""Runs are found by a few letters, listed, and looked at."""

from __future__ import annotations

import json

import pytest

import perfkit
from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.lake import RunRecord, open_lake
from perfkit.lake.pins import pin_run
from perfkit.workflows.runs import resolve_run, run_details
from perfkit.workflows.tune import fit_run


@pytest.mark.parametrize(
    ("text", "run_id"),
    [
        ("20261120-210000-aaaa", "20261120-210000-aaaa"),
        ("20261121", "20261121-070000-cccc"),
        ("20261120-22", "20261120-220000-bbbb"),
        ("latest", "20261120-220000-bbbb"),
        ("latest~0", "20261120-220000-bbbb"),
        ("latest~1", "20261120-210000-aaaa"),
    ],
)
def test_a_run_is_found_by_the_beginning_of_its_name_or_by_its_age(runs_lake, text, run_id):
    assert resolve_run(runs_lake, text).run_id == run_id


def test_a_whole_name_wins_over_a_longer_one_that_begins_with_it(runs_lake, add_run):
    add_run(runs_lake, "20261121", 700)
    assert resolve_run(runs_lake, "20261121").run_id == "20261121"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("20261120", InputError, "not unique, 2 runs begin like that: 20261120-220000-bbbb, 20261120-210000-aaaa"),
        ("2027", UnknownNameError, "unknown run '2027'; allowed: 20261121-070000-cccc"),
        ("", UnknownNameError, "unknown run ''"),
        ("latest~2", LakeError, "has only 2 finished runs"),
        ("latest~x", UnknownNameError, "unknown run 'latest~x'"),
    ],
)
def test_what_is_not_one_run_is_named(runs_lake, text, error, message):
    with pytest.raises(error, match=message):
        resolve_run(runs_lake, text)


def test_a_lake_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(LakeError, match=r"has no finished run\. `perfkit bench` measures one"):
        resolve_run(open_lake(tmp_path / "none"), "latest")
    assert "run `perfkit bench`" in str(perfkit.runs(tmp_path / "none"))


def test_the_list_has_what_a_person_looks_for(runs_lake, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pin_run(runs_lake, "20261120-220000-bbbb")
    listed = perfkit.runs(runs_lake.path)
    plain = json.loads(json.dumps(listed.to_plain()))
    assert [run["run"][-4:] for run in plain["runs"]] == ["cccc", "bbbb", "aaaa"]
    assert plain["runs"][1] == {
        "run": "20261120-220000-bbbb",
        "recorded_at": "2026-11-20T22:00:00+00:00",
        "status": "budget",
        "preset": "quick",
        "launches": 3,
        "rounds": 0,
        "observations": 6,
        "rows": 6,
        "seconds": 61.0,
        "pinned": True,
        "in_force": False,
        "host_matches": True,
    }
    assert "P pinned" in str(listed)
    assert max(map(len, str(listed).splitlines())) <= 80
    assert "<table>" in listed._repr_html_()


def test_marks_tell_evidence_other_hosts_and_rows_that_are_gone(runs_lake, add_run, tmp_path):
    add_run(runs_lake, "20261121-080000-dddd", 700, fingerprint='{"kernel": "2.4"}')
    runs_lake.append_run(RunRecord("20261121-090000-eeee", "complete", observations=5))
    thresholds = tmp_path / "thresholds.toml"
    perfkit.publish(fit_run(runs_lake.path, "latest~2"), path=thresholds, force=True)
    marks = {
        entry.record.run_id[-4:]: entry.marks for entry in perfkit.runs(runs_lake.path, thresholds=thresholds).entries
    }
    assert marks == {"eeee": "R", "dddd": "H", "cccc": "", "bbbb": "F", "aaaa": ""}


def test_broken_thresholds_do_not_hide_the_runs(runs_lake, tmp_path):
    thresholds = tmp_path / "thresholds.toml"
    thresholds.write_text("schema = ")
    listed = perfkit.runs(runs_lake.path, thresholds=thresholds)
    assert len(listed.entries) == 3
    assert str(thresholds) in listed.warnings[0]


def test_the_details_of_a_run_say_how_its_host_differs(runs_lake, add_run):
    warnings = json.dumps(["varied by 9 %"])
    add_run(runs_lake, "20261121-080000-dddd", 700, fingerprint='{"kernel": "2.4"}', warnings=warnings)
    details = run_details("20261121-08", lake=runs_lake.path)
    text = str(details)
    assert "! another host: kernel: measured on 2.4" in text
    assert "! varied by 9 %" in text
    plain = json.loads(json.dumps(details.to_plain()))
    assert (plain["run"], plain["fingerprint"], plain["host_matches"]) == (
        "20261121-080000-dddd",
        {"kernel": "2.4"},
        False,
    )


def test_a_fit_takes_the_same_names(runs_lake):
    assert fit_run(runs_lake.path, "20261120-21").curves.evidence.runs == ("20261120-210000-aaaa",)
    assert fit_run(runs_lake.path).curves.evidence.runs == ("20261120-220000-bbbb",)
