"""A model in force follows a lake: updated, trained anew after a shift, replaced by curves where they are better."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from perfkit.lake import open_lake
from perfkit.learn.models import train
from perfkit.workflows.events import list_events
from perfkit.workflows.learning.continual import refresh
from perfkit.workflows.learning.versions import current_version, keep_version, load_current

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
KINDS = {"tensor": 1.0, "table": 2.0}


def traffic(seed: int, n: int, *, begins: int, slower: float = 1.0, table: float = 2.0) -> pa.Table:
    """A service's transfers, one a second; tables cost twice as much as tensors, which no curve of a size knows."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["tensor", "table"], n)
    size = np.exp2(rng.uniform(10, 22, n)).astype(np.int64)
    cost = (4e4 + 0.3 * size) * np.where(kind == "table", table, 1.0) * slower * rng.lognormal(0, 0.20, n)
    moments = [START + datetime.timedelta(seconds=begins + at) for at in range(n)]
    return pa.table({
        "source": ["service"] * n, "stage": ["whole"] * n, "method": ["uds"] * n, "kind": kind,
        "payload_bytes": size, "latency_ns": cost.astype(np.int64), "observed_at": moments,
    })  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return train(traffic(1, 1500, begins=0))


@pytest.fixture
def folders(tmp_path, model):
    lake = open_lake(tmp_path / "lake")
    lake.append_transfers(traffic(1, 1500, begins=0))
    keep_version(model, tmp_path / "models")
    return lake, tmp_path / "lake", tmp_path / "models"


def median(models) -> float:
    return float(load_current(models).median(300_000, method="uds", kind="tensor")[0])


def test_a_slower_host_is_noticed_followed_and_learned_anew_once_there_is_enough(folders):
    lake, path, models = folders
    assert refresh(path, models).verdict == "nothing new"

    lake.append_transfers(traffic(2, 600, begins=2000, slower=1.4))
    first = refresh(path, models)
    assert (first.verdict, first.n, first.version) == ("updated", 600, 2)
    assert first.update.drifted == ("latency_ns",)
    assert median(models) == pytest.approx(1.3e5 * 1.4, rel=0.15)
    assert refresh(path, models).verdict == "nothing new"

    lake.append_transfers(traffic(3, 900, begins=3000, slower=1.4))
    second = refresh(path, models)
    assert (second.verdict, second.n, second.version) == ("trained anew", 900, 3)
    assert median(models) == pytest.approx(1.3e5 * 1.4, rel=0.15)
    assert load_current(models).provenance.observations <= 1500
    told = [one.name for one in list_events(path).events]
    assert "model drifted" in told
    assert "trained anew" in str(second)
    assert second.to_plain()["version"] == 3


def test_trees_worse_than_the_curves_give_way_to_the_curves_and_an_error_is_told(folders):
    lake, path, models = folders
    lake.append_transfers(traffic(4, 500, begins=2000, table=1.0))
    found = refresh(path, models)
    assert found.verdict == "fell back"
    assert load_current(models) is None
    assert current_version(models).state == "curves"
    event = next(one for one in list_events(path).events if one.name == "model degraded")
    assert event.severity == "error"
    # What comes next is learned from again: the curves apply only until a version is sound.
    lake.append_transfers(traffic(5, 500, begins=4000, table=1.0))
    assert refresh(path, models).verdict in ("updated", "trained anew")
    assert load_current(models) is not None


def test_publishing_without_thresholds_says_what_to_do_first(folders, tmp_path):
    lake, path, models = folders
    lake.append_transfers(traffic(6, 300, begins=2000))
    found = refresh(path, models, publish=True, thresholds=tmp_path / "thresholds.toml")
    assert found.verdict == "updated"
    assert found.published is None
    assert "perfkit publish" in found.warnings[-1]


def test_rows_that_no_model_can_use_change_nothing(folders):
    lake, path, models = folders
    lake.append_transfers(traffic(7, 300, begins=2000).append_column("ok", pa.array([False] * 300)))
    found = refresh(path, models)
    assert found.verdict == "nothing new"
    assert found.warnings
    assert current_version(models).version == 1
