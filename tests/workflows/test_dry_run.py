"""What another plan would have decided on recorded traffic."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

import perfkit
from perfkit.cli import main
from perfkit.engine import Engine
from perfkit.errors import ConfigError, InputError, UnitError, UnknownNameError
from perfkit.lake import open_lake
from perfkit.workflows.dry_run import dry_run
from perfkit.workflows.plan_files import open_plan

NOW = datetime.datetime.now(datetime.UTC)
LINES = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}
SLOW_POOL = {**LINES, "shm_pool": (400_000, 0.1)}
NAMES = ("pool", "kind", "format", "compression", "signalling")
LATENCY = '[pools.default]\ngoal = "latency"\n'


class Fitted:
    """Anything with curves can be published."""

    def __init__(self, curves) -> None:
        self.curves = curves


def traffic(count: int = 2_000) -> list[dict]:
    """Transfers of services in several contexts, sizes over the whole range."""
    source = random.Random(7)
    contexts = [("default", "binary", "raw"), ("ml", "tensor", "numpy"), ("nobody-named-it", "text", "raw")]
    rows = []
    for index in range(count):
        pool, kind, form = source.choice(contexts)
        rows.append(
            {
                "source": "service",
                "method": "uds" if index % 10 else "grpc",
                "latency_ns": 1_000,
                "observed_at": NOW - datetime.timedelta(hours=source.uniform(0.1, 20)),
                "pool": pool,
                "kind": kind,
                "format": form,
                "payload_bytes": int(2 ** source.uniform(0, 28)),
                "placement": "copied",
                "in_flight": source.choice((1, 4)),
                "ok": index % 50 != 0,
            }
        )
    return rows


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_curves) -> Path:
    """Two published versions, settings, a lake with traffic, and rows that wait in the journal."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "perfkit.toml").write_text(LATENCY)
    for lines in (LINES, SLOW_POOL):
        perfkit.publish(Fitted(make_curves(lines)), path=folder / "thresholds.toml", force=True)
    (folder / "override.toml").write_text(LATENCY + '[pools.ml]\noverride = "grpc"\n')
    old = [row | {"observed_at": NOW - datetime.timedelta(days=3)} for row in traffic(5)]
    measured = [row | {"source": "bench"} for row in traffic(5)]
    open_lake(folder / "data/lake").append_transfers(pa.Table.from_pylist([*traffic(), *old, *measured]))
    recent = NOW - datetime.timedelta(seconds=1)
    waiting = {
        "source": "service",
        "method": "uds",
        "latency_ns": 1,
        "observed_at": recent,
        "payload_bytes": [250_000] * 30,
    }
    with perfkit.open_journal(folder / "data/journal") as journal:
        journal.append("transfers", waiting)
    return folder


@pytest.fixture
def run(project, monkeypatch):
    """A dry run beside the project's files."""
    monkeypatch.chdir(project)
    return dry_run


def test_it_counts_what_a_service_would_have_decided_row_by_row(run) -> None:
    found = run("current", "v1")
    old, new = open_plan("v1"), open_plan("current")
    waiting = {"pool": "default", "kind": "binary", "format": "raw", "in_flight": 1, "payload_bytes": 250_000}
    rows = [*traffic(), *[{**waiting, "method": "uds"}] * 30]
    moves: dict = {}
    otherwise = saved = 0
    for row in rows:
        context = {name: row[name] for name in ("pool", "kind", "format", "in_flight")}
        before, after = (engine.bind(**context).decide(row["payload_bytes"]) for engine in (old, new))
        otherwise += row["method"] != before.method
        if before.method != after.method:
            moves[before.method, after.method] = moves.get((before.method, after.method), 0) + 1
            costs = after.explain(row["payload_bytes"]).costs
            saved += costs[after.method].latency.value - costs[before.method].latency.value
    assert found.transfers == len(rows) == 2_030
    assert found.payload_bytes == sum(row["payload_bytes"] for row in rows)
    assert found.moves == moves == {("shm_pool", "uds"): moves["shm_pool", "uds"]}
    assert found.otherwise == otherwise
    assert saved < 0
    assert found.latency_change_ns == pytest.approx(saved, rel=1e-6)
    assert found.cost_changes["latency"] == pytest.approx(saved, rel=1e-6)
    assert found.effect.share_changed == pytest.approx(found.changed / found.transfers)
    assert found.effect.ratio.high < 1
    assert found.effect.verdict == "better"


def test_settings_alone_and_the_reasons_are_compared_too(run) -> None:
    found = run("override.toml")
    assert {(one.context.split("/")[0], one.after, one.source) for one in found.changes} == {("ml", "grpc", "override")}
    assert found.latency_change_ns > 0
    assert [one.weight for one in found.changes] == sorted((one.weight for one in found.changes), reverse=True)


def test_a_plan_changes_nothing_against_itself(run) -> None:
    found = run("current")
    assert (found.changed, found.latency_change_ns, found.cost_changes) == (0, 0, {})
    assert "0 of 2,030 transfers (0%)" in " ".join(str(found).split())


def test_it_shows_the_heaviest_changes_on_a_terminal_in_html_and_as_plain_data(run) -> None:
    found = run("current", "v1")
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("transfers shm_pool → uds.", "Latency in all, expected: -", "in the last day", "better"):
        assert words in " ".join(text.split())
    assert "<table>" in found._repr_html_()
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["changed"] == found.changed
    assert len(plain["changes"]) <= 10
    assert "a day" in str(run("current", "v1", window="2 days"))


def test_methods_of_unknown_cost_are_counted_apart(run, tmp_path: Path) -> None:
    new = tmp_path / "perfkit.toml"
    new.write_text('[pools.default]\noverride = "grpc_stream"\n')
    found = run(new)
    assert found.unknown == found.changed == found.transfers
    assert found.latency_change_ns == 0
    assert "of unknown cost" in " ".join(str(found).split())


@pytest.mark.parametrize(("lake", "window"), [("nowhere", "1 day"), ("data/lake", "1ms")])
def test_without_traffic_it_says_so_and_what_to_do(run, lake: str, window: str) -> None:
    found = run("v1", lake=lake, window=window)
    assert found.transfers == 0
    assert found.effect is None
    assert "no service recorded a transfer" in str(found)
    assert "Engine.record" in str(found)


@pytest.mark.parametrize(
    ("new", "options", "error"),
    [
        ("v9", {}, UnknownNameError),
        ("absent.toml", {}, InputError),
        ("data", {}, InputError),
        ("broken.toml", {}, ConfigError),
        ("v1", {"window": "0s"}, InputError),
        ("v1", {"window": "yesterday"}, UnitError),
        ("v1", {"window": "1e300 days"}, InputError),
    ],
)
def test_wrong_input_is_refused(run, project: Path, new: str, options: dict, error: type[Exception]) -> None:
    (project / "broken.toml").write_text("[pools\n")
    with pytest.raises(error):
        run(new, **options)


def test_plans_are_named_by_file_folder_version_or_as_they_are(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    engine = open_plan("current")
    assert open_plan(engine) is engine
    versions = {name: open_plan(name).health().version for name in ("current", "v1", "v2", ".", "thresholds.toml")}
    assert versions == {"current": 2, "v1": 1, "v2": 2, ".": 2, "thresholds.toml": 2}
    assert open_plan("history/v1.toml" if Path("history/v1.toml").exists() else "v1").health().version == 1
    elsewhere = tmp_path / "changed.toml"
    elsewhere.write_text('[pools.default]\ngoal = "throughput"\n')
    found = open_plan(elsewhere)
    assert found.health().version == 2
    assert found.plan().cells[0].pool.goal == "throughput"
    assert isinstance(found, Engine)


def test_the_command_compares_and_its_exit_code_says_whether_anything_changes(project, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project)

    def shown(*arguments: str) -> tuple[int, str]:
        code = main(("plan", *arguments))
        return code, capsys.readouterr().out

    code, text = shown("--diff", "v1", "current")
    assert code == 0
    assert "shm_pool (model)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert shown("--diff", "v1", "current", "--exit-code")[0] == 1
    assert shown("--diff", "v2", "current", "--exit-code")[0] == 0
    code, text = shown("--diff", "v1", "current", "--traffic", "1 day", "--exit-code", "--json")
    assert code == 1
    assert json.loads(text.splitlines()[-1])["transfers"] == 2_030
    assert shown("--diff", "v2", "current", "--traffic", "1 day", "--exit-code")[0] == 0
