"""Versions of a cost model: one is in force, the others can come back, and a damaged one never does."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from perfkit.errors import InputError, ModelError, UnknownNameError
from perfkit.learn.models import CostModel
from perfkit.learn.models.storing import PLAIN
from perfkit.workflows.learning import versions


@pytest.fixture
def three(tmp_path: Path, small_model: CostModel) -> Path:
    """A folder with three versions."""
    for _ in range(3):
        versions.keep_version(small_model, tmp_path / "models")
    return tmp_path / "models"


def test_the_newest_version_is_in_force_and_comes_back_as_it_was(three: Path, small_model: CostModel) -> None:
    standing = versions.current_version(three)
    assert standing is not None
    assert (standing.version, standing.state) == (3, "model")
    loaded = versions.load_current(three)
    assert loaded is not None
    assert loaded.parts()[0] == small_model.parts()[0]
    assert loaded.median(5000, method="uds") == small_model.median(5000, method="uds")


def test_without_models_nothing_is_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert versions.current_version(folder) is None
    assert versions.load_current(folder) is None
    assert "perfkit learn" in str(versions.list_versions(folder))
    for attempt in (lambda: versions.roll_back(folder), lambda: versions.fall_back("drift", folder)):
        with pytest.raises(InputError):
            attempt()
    assert not folder.exists()


def test_an_earlier_version_comes_back_and_later_ones_are_kept(three: Path, small_model: CostModel) -> None:
    assert versions.roll_back(three).version == 2
    assert versions.roll_back(three).version == 1
    with pytest.raises(InputError, match="no earlier version"):
        versions.roll_back(three)
    assert versions.roll_back(three, 3).version == 3
    versions.roll_back(three, 1)
    assert versions.keep_version(small_model, three).version == 4
    for unknown in (9, 0, True):
        with pytest.raises(UnknownNameError, match="version of the model"):
            versions.roll_back(three, unknown)


def test_the_curves_apply_after_falling_back_until_a_version_is_put_into_force(three: Path) -> None:
    fallen = versions.fall_back("coverage fell to 70%", three)
    assert (fallen.version, fallen.state, fallen.reason) == (3, "curves", "coverage fell to 70%")
    assert versions.load_current(three) is None
    assert "curves instead of model version 3" in str(versions.list_versions(three))
    versions.roll_back(three, 3)
    assert versions.load_current(three) is not None


def test_a_damaged_version_is_listed_with_its_problem_and_never_put_into_force(three: Path) -> None:
    (three / "v0002" / PLAIN).write_text("{")
    (three / "v0001" / PLAIN).unlink()
    listed = versions.list_versions(three)
    assert [bool(one.problem) for one in listed.versions] == [False, True, True]
    with pytest.raises(ModelError, match="v0002"):
        versions.roll_back(three)
    standing = versions.current_version(three)
    assert standing is not None
    assert standing.version == 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 99, "state": "model", "reason": "", "since": ""}', "null"]
)
def test_a_damaged_record_of_what_is_in_force_is_named_and_mended_by_the_next_version(
    three: Path, small_model: CostModel, text: str
) -> None:
    (three / "current.json").write_text(text)
    with pytest.raises(ModelError, match=r"current\.json"):
        versions.load_current(three)
    assert versions.list_versions(three).warnings
    assert versions.keep_version(small_model, three).version == 4
    assert versions.load_current(three) is not None


def test_old_versions_are_removed_but_never_the_one_in_force(
    three: Path, small_model: CostModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_KEPT", 2)
    versions.keep_version(small_model, three)
    assert [one.version for one in versions.list_versions(three).versions] == [4, 3]
    versions.roll_back(three, 3)
    assert {path.name for path in three.iterdir()} == {"v0003", "v0004", "current.json"}


def test_versions_kept_at_the_same_time_have_numbers_of_their_own(tmp_path: Path, small_model: CostModel) -> None:
    kept: list[int] = []
    threads = [
        threading.Thread(target=lambda: kept.append(versions.keep_version(small_model, tmp_path).version))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [1, 2, 3, 4, 5, 6]
    standing = versions.current_version(tmp_path)
    assert standing is not None
    assert standing.version == 6


def test_an_interrupted_keeping_leaves_the_version_in_force(
    three: Path, small_model: CostModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(folder: Path, standing: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(versions, "_replace_current", interrupt)
    with pytest.raises(KeyboardInterrupt):
        versions.keep_version(small_model, three)
    monkeypatch.undo()
    assert json.loads((three / "current.json").read_text())["version"] == 3
    assert versions.keep_version(small_model, three).version == 5


def test_the_history_is_a_table_and_plain_data(three: Path) -> None:
    listed = versions.list_versions(three)
    assert listed.to_plain()["standing"]["version"] == 3
    assert [one["version"] for one in listed.to_plain()["versions"]] == [3, 2, 1]
    assert "3 *" in str(listed)
    assert all(len(line) <= 80 for line in str(listed).splitlines())
