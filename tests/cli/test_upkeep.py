"""`perfkit maintain` and `perfkit migrate`: what they say, and what they refuse."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from perfkit.config.curves import CurveSet
from perfkit.lake import open_lake
from perfkit.lake.delta import mark_schema
from perfkit.schema import SCHEMA_VERSION, arrow_schema
from perfkit.workflows.publish import publish


class Fitted:
    """A fit as publishing sees it."""

    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows of a month ago: of a service, and of the run 01RUN."""
    monkeypatch.chdir(tmp_path)
    lake = open_lake("data/lake")
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(30)
    for run_id in ("", "01RUN"):
        columns = {"run_id": [run_id], "method": ["uds"], "payload_bytes": [1], "latency_ns": [1000]}
        lake.append_transfers(pa.table({**columns, "observed_at": pa.array([moment], pa.timestamp("us", tz="UTC"))}))
    return lake.path


def row_count(lake: Path) -> int:
    return int(open_lake(lake).transfers.count().to_pyarrow().as_py())


def test_maintain_deletes_what_is_too_old_but_not_the_run_in_force(
    perfkit, lake: Path, make_curves: Callable[..., CurveSet]
) -> None:
    publish(Fitted(make_curves()), force=True)
    outcome = perfkit("maintain", "--json")
    assert outcome.exit_code == 0
    plain = outcome.json()
    assert plain["kept_runs"] == ["01RUN"]
    assert plain["tables"][0]["name"] == "transfers"
    assert plain["tables"][0]["rows_deleted"] == 1
    assert row_count(lake) == 1


def test_maintain_follows_the_settings(perfkit, lake: Path) -> None:
    Path("perfkit.toml").write_text("[lake]\nkeep_rows = '60 days'\n")
    assert perfkit("maintain").exit_code == 0
    assert row_count(lake) == 2
    Path("perfkit.toml").write_text("[lake]\nkeep_rows = '1 day'\n")
    outcome = perfkit("maintain", "--dry-run")
    assert "nothing was changed" in outcome.stdout
    assert row_count(lake) == 2
    assert perfkit("maintain").exit_code == 0
    assert row_count(lake) == 0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("maintain", "--lake", "nowhere"), 1, "nowhere does not exist"),
        (("maintain", "--settings", "absent.toml"), 2, "perfkit init"),
        (("migrate", "--lake", "nowhere"), 1, "nowhere does not exist"),
    ],
)
def test_what_cannot_be_looked_after_is_named_in_one_line(
    perfkit, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    outcome = perfkit(*arguments)
    assert outcome.exit_code == exit_code
    assert said in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not Path("nowhere").exists()


def test_a_setting_that_is_wrong_or_thresholds_that_are_broken_stop_it_before_anything_goes(
    perfkit, lake: Path
) -> None:
    Path("perfkit.toml").write_text("[lake]\nkeep_rows = 'long'\n")
    outcome = perfkit("maintain")
    assert (outcome.exit_code, "perfkit.toml:2" in outcome.stderr) == (2, True)
    Path("perfkit.toml").unlink()
    Path("thresholds.toml").write_text("schema = ?")
    assert perfkit("maintain").exit_code == 2
    assert row_count(lake) == 2


def test_migrate_rehearses_and_then_migrates(perfkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    added = ("producer", "epoch", "producer_sequence")
    stages = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns", "fallback", "direction")
    assigned = ("experiment", "variant", "propensity", "plan_version")
    schema = pa.schema([field for field in arrow_schema() if field.name not in (*added, *stages, *assigned)])
    write_deltalake("data/lake/transfers", schema.empty_table())
    outcome = perfkit("migrate", "--dry-run")
    assert (outcome.exit_code, "rehearsed on a copy" in outcome.stdout) == (0, True)
    plain = perfkit("migrate", "--json").json()
    assert [one["to_version"] for one in plain["tables"]] == [SCHEMA_VERSION]
    assert Path(plain["backup"]).is_dir()
    assert "Nothing to do" in perfkit("migrate").stdout


def test_migrate_refuses_a_lake_of_a_newer_schema(perfkit, tmp_path: Path) -> None:
    DeltaTable.create(str(tmp_path / "data/lake/events"), mark_schema(arrow_schema("events"), SCHEMA_VERSION + 1))
    outcome = perfkit("migrate")
    assert outcome.exit_code == 1
    assert f"schema version {SCHEMA_VERSION + 1}" in outcome.stderr
