"""A model in force follows a lake: updated, trained anew after a shift, replaced by curves where they are better."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from perfkit.learn.models import CostModel
from perfkit.workflows.events import list_events
from perfkit.workflows.learning import versions
from perfkit.workflows.learning.continual import refresh
from perfkit.workflows.learning.versions import current_version, load_current
from perfkit.workflows.learning.watching import Round, watch

pytestmark = pytest.mark.usefixtures("with_trees")


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory, traffic: Any, curves: Any) -> CostModel:
    """Its trees know that everything costs twice as much where memory is tight, which no curve knows."""
    from perfkit.learn.models import train, training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "FEWEST_OBSERVATIONS", 300)
        return train(traffic(400, tight=2.0), curves=curves)


@pytest.fixture
def folders(tmp_path: Any, modelled: CostModel, record: Any, in_memory: Any) -> Any:
    record(400, tight=2.0)
    versions.keep_version(modelled, tmp_path / "models", learned=in_memory.everything())
    return tmp_path / "lake", tmp_path / "models"


def median(models: Any, available_bytes: int = 2**33) -> float:
    model = load_current(models)
    assert model is not None
    return float(model.median(2**18, method="uds", available_bytes=available_bytes)[0])


def test_a_slower_host_is_followed_and_a_model_trained_anew_has_to_be_better(folders: Any, record: Any) -> None:
    """Where all became slower by a factor, the updated model knows more than one trained on what came after."""
    lake, models = folders
    assert refresh(lake, models).verdict == "nothing new"
    usual = median(models)
    record(200, begins=2000, tight=2.0, slower=1.4)
    first = refresh(lake, models)
    assert (first.verdict, first.n, first.version) == ("updated", 200, 2)
    assert first.update.drifted == ("latency_ns",)
    assert median(models) == pytest.approx(1.4 * usual, rel=0.1)
    assert refresh(lake, models).verdict == "nothing new"

    record(250, begins=3000, tight=2.0, slower=1.4)
    second = refresh(lake, models)
    assert (second.verdict, second.n, second.version) == ("updated", 250, 3)
    assert "not surely better" in second.comparison.reason
    assert "Trained anew: mean error" in str(second)
    assert median(models) == pytest.approx(1.4 * usual, rel=0.1)
    assert second.to_plain()["comparison"]["n"] >= 80

    # What a service held back since before the shift says nothing about how it is now, and is not kept waiting for.
    type(record)(lake, producer="slot-001", memory=record.memory)(150, begins=500, tight=2.0)
    assert refresh(lake, models).verdict == "nothing new"
    assert "model drifted" in [one.name for one in list_events(lake).events]


def test_after_costs_changed_their_shape_a_model_trained_on_what_came_after_takes_over(
    folders: Any, record: Any
) -> None:
    lake, models = folders
    record(250, begins=2000, tight=6.0, slower=1.3)
    refresh(lake, models)
    record(300, begins=3000, tight=6.0, slower=1.3)
    found = refresh(lake, models)
    assert found.verdict == "trained anew"
    assert found.comparison.is_better
    assert found.comparison.error_new < found.comparison.error_in_force
    assert load_current(models).provenance.observations <= 550
    assert median(models, 2**28) / median(models) == pytest.approx(6.0, rel=0.25)


def test_trees_worse_than_the_curves_give_way_to_the_curves_and_an_error_is_told(folders: Any, record: Any) -> None:
    lake, models = folders
    record(280, begins=2000)
    found = refresh(lake, models)
    assert found.verdict == "fell back"
    assert load_current(models) is None
    assert current_version(models).state == "curves"
    event = next(one for one in list_events(lake).events if one.name == "model degraded")
    assert event.severity == "error"
    # What comes next is learned from again: the curves apply only until a version is sound.
    record(150, begins=4000)
    assert refresh(lake, models).verdict in ("updated", "trained anew")
    assert load_current(models) is not None


def test_late_rows_are_learned_from_once(folders: Any, record: Any) -> None:
    lake, models = folders
    late = type(record)(lake, producer="slot-001", memory=record.memory)
    late(150, begins=-5000, tight=2.0)
    found = refresh(lake, models)
    assert (found.verdict, found.n) == ("updated", 150)
    assert refresh(lake, models).n == 0
    late(40, begins=-9000, tight=2.0)
    assert (refresh(lake, models).n, refresh(lake, models).n) == (40, 40)  # too few to learn from, and kept waiting
    late(70, begins=9000, tight=2.0)
    assert refresh(lake, models).n == 110
    assert load_current(models).provenance.observations == 400 + 150 + 110


def test_a_version_that_is_taken_back_stays_and_goes_on_with_what_comes_next(folders: Any, record: Any) -> None:
    lake, models = folders
    record(150, begins=4000, tight=2.0)
    assert refresh(lake, models).version == 2
    versions.roll_back(models)
    assert [refresh(lake, models).n for _ in range(2)] == [0, 0]
    assert current_version(models).version == 1
    record(150, begins=9000)
    again = refresh(lake, models)
    assert (again.n, again.version) == (150, 3), again
    assert versions.load_version(models, 3).provenance.parent == "v0001"


def test_rows_that_no_model_can_use_change_nothing(folders: Any, record: Any) -> None:
    lake, models = folders
    record(300, begins=2000, ok=False)
    found = refresh(lake, models)
    assert (found.verdict, found.n) == ("nothing new", 0)
    assert "300 new rows, of which 0 count" in found.warnings[0]
    assert current_version(models).version == 1


def test_a_damaged_model_in_force_is_named_and_replaced_once_there_is_enough(folders: Any, record: Any) -> None:
    lake, models = folders
    (models / "v0001" / "model.json").write_text("{")
    found = refresh(lake, models)
    assert (found.verdict, found.version) == ("trained anew", 2)
    assert any("v0001/model.json" in warning for warning in found.warnings)


def test_watching_trains_the_first_model_goes_on_where_it_was_and_leaves_nothing(
    tmp_path: Any, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, told = tmp_path / "models", list[Round]()
    arrivals = [lambda: record(350), lambda: record(120, begins=2000), lambda: os.kill(os.getpid(), signal.SIGTERM)]

    def tell(one: Round) -> None:
        told.append(one)
        arrivals.pop(0)()

    assert watch(record.lake, models, every_s=0.001, progress=tell).failed == 0
    assert [(one.result.verdict, one.result.n) for one in told] == [
        ("no model", 0), ("trained anew", 350), ("updated", 120)
    ]  # fmt: skip
    assert "a model needs" in str(told[0])
    # Started again, it has learned from all of that already.
    arrivals = [lambda: os.kill(os.getpid(), signal.SIGINT)]
    again = watch(record.lake, models, every_s=0.001, progress=tell)
    assert (again.last.result.verdict, again.last.result.n) == ("nothing new", 0)
    assert {path.name for path in models.iterdir()} == {"v0001", "v0002", "current.json"}
