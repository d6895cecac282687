"""`perfkit runs` and `perfkit compare`: what they print, ask, refuse, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest

from perfkit.cli.runs import runs_command
from perfkit.lake import RunRecord, open_lake

FIRST, SECOND = "20261120-210000-aaaa", "20261121-210000-bbbb"


@pytest.fixture(autouse=True)
def two_runs(perfkit):
    """In data/lake of the folder that the commands run in: the second one is 30 % slower."""
    rng = np.random.default_rng(1)
    lake = open_lake("data/lake")
    for run_id, factor in ((FIRST, 1.0), (SECOND, 1.3)):
        rows = [
            {
                "run_id": run_id,
                "scenario": f"transport uds {size}",
                "method": "uds",
                "payload_bytes": size,
                "launch": launch,
                "latency_ns": int((10_000 + size) * factor * rng.lognormal(0, 0.01)),
            }
            for launch in range(4)
            for size in (1024, 4096, 16384)
        ]
        lake.append_transfers(pa.Table.from_pylist(rows))
        fingerprint = json.dumps({"kernel": "2.4"})
        record = RunRecord(run_id, "complete", preset="quick", fingerprint=fingerprint, launches=4, observations=12)
        lake.append_run(record)


def test_runs_are_listed(perfkit):
    outcome = perfkit("runs")
    assert outcome.exit_code == 0
    assert outcome.stdout.index(SECOND) < outcome.stdout.index(FIRST)
    assert [run["run"] for run in perfkit("runs", "--json").json()["runs"]] == [SECOND, FIRST]


def test_a_run_is_shown(perfkit):
    assert "measured on 2.4" in perfkit("runs", "show", "latest").stdout
    assert perfkit("runs", "show", "20261120", "--json").json()["fingerprint"] == {"kernel": "2.4"}


@pytest.mark.parametrize("name", runs_command.commands)
def test_every_command_is_explained_and_takes_json(perfkit, name):
    command = runs_command.commands[name]
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
    assert any("--json" in parameter.opts for parameter in command.params)
    help_text = perfkit("runs", name, "--help").stdout
    assert max(map(len, help_text.splitlines())) <= 80
    assert f"  {name} " in perfkit("runs", "--help").stdout
    assert "..." not in perfkit("runs", "--help").stdout.partition("Commands:")[2]


def test_options_before_the_command_count_too(perfkit):
    assert perfkit("runs", "--lake", "elsewhere", "show", "latest").exit_code == 1
    assert perfkit("runs", "--json", "show", "latest").json()["run"] == SECOND


def test_a_run_is_pinned_and_released(perfkit):
    assert perfkit("runs", "pin", "latest", "--json").json() == {"run": SECOND, "pinned": True}
    refused = perfkit("runs", "delete", "latest", "--yes", "--json")
    assert refused.exit_code == 2
    assert "perfkit runs unpin" in refused.json()["error"]["message"]
    assert "Released" in perfkit("runs", "unpin", "latest").stdout
    assert "was not pinned" in perfkit("runs", "unpin", "latest").stdout


def test_deleting_asks_first(perfkit, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y" if next(answers) else "n")
    declined = perfkit("runs", "delete", "latest")
    assert declined.exit_code == 0
    assert declined.stdout.endswith("Nothing was deleted.\n")
    assert "Deleted 1 run" in perfkit("runs", "delete", "latest").stdout
    assert [run["run"] for run in perfkit("runs", "--json").json()["runs"]] == [FIRST]


def test_deleting_with_json_asks_nobody(perfkit):
    assert perfkit("runs", "delete", "latest", "--json").exit_code == 2
    assert perfkit("runs", "delete", "latest", "--json", "--dry-run").json()["observations"] == {SECOND: 12}
    deleted = perfkit("runs", "delete", FIRST[:10], SECOND[:10], "--json", "--yes").json()
    assert deleted["observations"] == {FIRST: 12, SECOND: 12}


def test_a_run_travels(perfkit):
    exported = perfkit("runs", "export", "latest", "--to", "run.csv", "--json")
    assert exported.json()["run"] == SECOND
    imported = perfkit("runs", "import", "run.csv", "--lake", "other", "--json").json()
    assert (imported["run"], imported["imported"], imported["host_matches"]) == (SECOND, True, False)
    assert "already" in perfkit("runs", "import", "run.csv", "--lake", "other").stdout
    assert perfkit("runs", "export", "latest", "--to", "run.csv").exit_code == 2
    assert perfkit("runs", "export", "latest", "--to", "none/run.csv").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("runs", "shw"), 2, "Did you mean 'show'"),
        (("runs", "show", "2026"), 2, "not unique"),
        (("runs", "show", "1999"), 2, "unknown run '1999'"),
        (("runs", "show", "latest~7"), 1, "has only 2 finished runs"),
        (("runs", "delete"), 2, "Missing argument"),
        (("runs", "export", "latest"), 2, "Missing option '--to'"),
        (("runs", "export", "latest", "--to", "run.xlsx"), 2, "unknown ending of a file '.xlsx'"),
        (("runs", "import", "none.csv"), 2, "cannot be read"),
        (("compare", "latest", "latest"), 2, "both runs are"),
        (("compare", "latest"), 2, "Missing argument"),
        (("compare", "latest~1", "latest", "--margin", "five"), 2, "share 'five' cannot be read"),
        (("compare", "latest~1", "latest", "--margin", "0%"), 2, "margin == 0.0"),
        (("compare", "latest~1", "latest", "--quantity", "cpus"), 2, "Did you mean 'cpu'"),
    ],
)
def test_bad_input_is_named(perfkit, arguments, exit_code, message):
    outcome = perfkit(*arguments)
    assert outcome.exit_code == exit_code
    assert message in outcome.stderr


def test_compare_prints_the_verdict(perfkit):
    outcome = perfkit("compare", "latest~1", "latest", "--margin", "5%")
    assert outcome.exit_code == 0
    assert "Overall worse: latency +30%" in outcome.stdout.replace("\n", " ").replace("29%", "30%").replace(
        "31%", "30%"
    )
    plain = perfkit("compare", FIRST, SECOND, "--json").json()
    assert (plain["verdict"], plain["counts"]["worse"], plain["run_a"]) == ("worse", 3, FIRST)
    assert plain["scenarios"][0]["change"]["low"] > 0.2
    assert perfkit("compare", SECOND, FIRST, "--json").json()["verdict"] == "better"
    assert not Path("thresholds.toml").exists()
