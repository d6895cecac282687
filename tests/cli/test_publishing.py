"""`perfkit publish`: what it refuses, and how it says so."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pytest

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.thresholds import load_thresholds
from perfkit.lake import open_lake
from perfkit.lake.records import RunRecord


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (("--history", "--dry-run"), 2, "--history"),
        (("--history", "--rollback"), 2, "--history"),
        (("--history", "--force"), 2, "--history"),
        (("--rollback", "--force"), 2, "leave --force"),
        (("--rollback", "--replay"), 2, "--replay out"),
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


@pytest.fixture
def measured(perfkit) -> None:
    """A run of two launches, one less than the gate asks for."""
    lines = {"uds": (10_000, 0.5), "shm_pool": (40_000, 0.05), "grpc": (400_000, 2.0)}
    rows = [
        {
            "run_id": "thin",
            "method": method,
            "payload_bytes": size,
            "launch": launch,
            "round": turn,
            "latency_ns": int((fixed + per_byte * size) * (1 + 0.01 * turn + 0.005 * launch)),
        }
        for method, (fixed, per_byte) in lines.items()
        for size in (1024, 65536, 1048576, 16777216)
        for launch in range(2)
        for turn in range(5)
    ]
    lake = open_lake("data/lake")
    lake.append_transfers(pa.Table.from_pylist(rows))
    moment = datetime.datetime.now(datetime.UTC)
    lake.append_run(RunRecord("thin", "complete", moment, fingerprint=json.dumps(collect_fingerprint()), launches=2))


@pytest.mark.usefixtures("measured")
def test_a_refusal_names_its_reason_and_exits_with_1(perfkit) -> None:
    for arguments in ((), ("--dry-run",)):
        outcome = perfkit("publish", *arguments)
        assert outcome.exit_code == 1
        assert "Refused: launches: " in outcome.stdout
        assert "must be at least 3" in " ".join(outcome.stdout.split())
        assert all(len(line) <= 80 for line in outcome.stdout.splitlines())
    assert not Path("thresholds.toml").exists()


@pytest.mark.usefixtures("measured")
def test_json_holds_the_refusals_and_the_effect(perfkit) -> None:
    outcome = perfkit("publish", "--json")
    assert outcome.exit_code == 1
    assert [one["name"] for one in outcome.json()["refusals"]] == ["launches"]
    assert outcome.json()["effect"]["verdict"] == "better"


@pytest.mark.usefixtures("measured")
def test_force_publishes_and_the_history_says_what_was_overridden(perfkit) -> None:
    outcome = perfkit("publish", "--force")
    assert outcome.exit_code == 0
    assert "Overridden: launches: " in outcome.stdout
    assert load_thresholds("thresholds.toml").gate.forced == ("launches",)
    assert "forced:" in perfkit("publish", "--history").stdout


@pytest.mark.usefixtures("measured")
def test_another_version_than_the_previewed_one_is_refused(perfkit) -> None:
    preview = perfkit("publish", "--dry-run")
    assert "--expected-version 0" in preview.stdout.split("With")[-1]
    outcome = perfkit("publish", "--force", "--expected-version", "4")
    assert outcome.exit_code == 1
    assert "changed: " in outcome.stdout
    assert not Path("thresholds.toml").exists()
    assert perfkit("publish", "--force", "--expected-version", "0").exit_code == 0
