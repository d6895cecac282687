"""Learning from a lake: the first model is kept, a surely better one replaces it, and with too little nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import FileError, UnknownNameError
from perfkit.lake import open_lake
from perfkit.lake.records import RunRecord
from perfkit.learn.models import CostModel
from perfkit.workflows.events import read_events
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.learning import versions
from perfkit.workflows.learning.from_lake import learn_models

pytestmark = pytest.mark.usefixtures("quick")


def _learn(folder: Path, **options: Any) -> Any:
    return learn_models(folder / "lake", folder / "models", thresholds=folder / "thresholds.toml", **options)


def test_the_first_model_is_kept_and_told_of(tmp_path: Path, record: Any) -> None:
    record(80)
    previewed = _learn(tmp_path, dry_run=True)
    assert (previewed.verdict, previewed.version) == ("would be kept", None)
    assert not (tmp_path / "models").exists()
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version, learned.n) == ("kept", 1, 80)
    loaded = versions.load_current(tmp_path / "models")
    assert loaded is not None
    assert loaded.median(2**16, method="uds")[0] == pytest.approx(30e3 + 0.30 * 2**16, rel=0.15)
    assert loaded.provenance.table_versions["transfers"] >= 0
    assert "model kept" in [event.name for event in read_events(open_fresh_lake(tmp_path / "lake"))]
    again = _learn(tmp_path)
    assert (again.verdict, again.version) == ("not kept", 1)
    assert "nothing new: version 1 has learned from all" in again.reason


@pytest.mark.usefixtures("in_memory")
def test_a_model_that_is_surely_better_on_what_neither_saw_replaces_the_one_in_force(
    tmp_path: Path, record: Any
) -> None:
    record(80)
    _learn(tmp_path)
    record(400, begins=3600, slower=2.0)
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("kept", 2)
    assert learned.error_new < learned.error_in_force
    assert (learned.n_held_out, learned.p_value < 0.01) == (96, True)
    assert "surely better" in learned.reason


@pytest.mark.usefixtures("in_memory")
def test_a_model_that_is_not_surely_better_is_not_kept(tmp_path: Path, record: Any) -> None:
    record(100)
    _learn(tmp_path)
    record(150, begins=3600)
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("not kept", 1)
    assert "not surely better" in learned.reason


@pytest.mark.usefixtures("in_memory")
def test_a_model_that_is_worse_is_not_kept(tmp_path: Path, record: Any) -> None:
    """The old traffic was slow, the model in force is of fast traffic, and what comes now is fast again."""
    record(100)
    _learn(tmp_path)
    record(300, begins=3600, slower=4.0)
    record(80, begins=7200)
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("not kept", 1)
    assert "surely worse" in learned.reason


def test_with_too_little_the_curves_apply(tmp_path: Path, record: Any) -> None:
    for count in (0, 30):
        if count:
            record(count)
        learned = _learn(tmp_path)
        assert (learned.verdict, learned.version, learned.n) == ("not kept", None, count)
        assert "the curves apply" in str(learned)
    assert versions.current_version(tmp_path / "models") is None


@pytest.mark.usefixtures("in_memory")
def test_a_damaged_model_in_force_is_replaced_and_named(tmp_path: Path, record: Any, small_model: CostModel) -> None:
    record(80)
    versions.keep_version(small_model, tmp_path / "models")
    (tmp_path / "models" / "v0001" / "learned.json").write_text("{")
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("kept", 2)
    assert any("v0001/learned.json" in warning for warning in learned.warnings)
    assert "cannot be read" in learned.reason


@pytest.mark.usefixtures("in_memory")
def test_after_falling_back_the_next_model_comes_into_force(
    tmp_path: Path, record: Any, small_model: CostModel
) -> None:
    record(80)
    versions.keep_version(small_model, tmp_path / "models", fallen="degraded")
    assert versions.load_current(tmp_path / "models") is None
    learned = _learn(tmp_path)
    assert (learned.version, learned.reason) == (2, "version 1 fell back to the curves")
    assert versions.load_current(tmp_path / "models") is not None


def test_rows_of_other_hosts_count_only_where_that_is_asked_for(tmp_path: Path, record: Any) -> None:
    here = collect_fingerprint()
    lake = open_lake(tmp_path / "lake")
    for run, host in (("HERE", here), ("THERE", {**here, "cpu": "another"})):
        lake.append_run(RunRecord(run, "complete", fingerprint=json.dumps(host)))
    record(70)
    for run, slower in (("HERE", 1.0), ("THERE", 3.0)):
        type(record)(record.lake, producer=f"slot-{run}")(80, slower=slower, run_id=run, source="bench")
    learned = _learn(tmp_path, dry_run=True)
    assert learned.n == 150
    assert "1 runs are of another host" in learned.warnings[0]
    assert learned.model.median(2**20, method="uds", source="bench")[0] == pytest.approx(30e3 + 0.30 * 2**20, rel=0.1)
    there = _learn(tmp_path, dry_run=True, host="THERE")
    assert there.n == 80
    assert there.model.median(2**20, method="uds", source="bench")[0] == pytest.approx(
        3 * (30e3 + 0.30 * 2**20), rel=0.1
    )
    assert _learn(tmp_path, dry_run=True, host="any").n == 230
    with pytest.raises(UnknownNameError, match="unknown host 'NOWHERE'"):
        _learn(tmp_path, host="NOWHERE")


def test_a_version_put_into_force_meanwhile_is_not_overwritten(tmp_path: Path, small_model: CostModel) -> None:
    first = versions.keep_version(small_model, tmp_path)
    versions.keep_version(small_model, tmp_path)
    with pytest.raises(FileError, match="meanwhile"):
        versions.keep_version(small_model, tmp_path, instead_of=first)
    assert [one.version for one in versions.list_versions(tmp_path).versions] == [2, 1]
