"""Publishing: previews, versions, rollback, and a consistent pair of files whatever happens when."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perfkit.config import publication
from perfkit.config.curves import CurveSet, Evidence
from perfkit.config.thresholds import history_folder, load_thresholds
from perfkit.errors import ConfigError, PublishError, UnknownNameError
from perfkit.learn.models.distilling import Distilled
from perfkit.learn.models.fidelity import Fidelity
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.publish import history, publish, rollback


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thresholds.toml"


@pytest.fixture
def first(make_curves) -> Fitted:
    return Fitted(make_curves())


@pytest.fixture
def second(make_curves) -> Fitted:
    return Fitted(make_curves({"uds": (10_000, 0.3), "shm_pool": (20_000, 0.1), "grpc": (500_000, 2.0)}))


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_publishing_writes_the_curves_and_readable_ranges(path: Path, first: Fitted) -> None:
    result = publish(first, path=path)
    assert (result.published, result.version, result.previous_version) == (True, 1, None)
    loaded = load_thresholds(path)
    assert loaded.curves == first.curves
    assert loaded.run == "01RUN"
    table = loaded.tables[0]
    assert (table.pool, table.kind, table.goal) == ("*", "binary", "latency")
    assert [entry.method for entry in table.ranges] == ["uds", "shm_pool"]
    assert sorted(files(path.parent)) == ["thresholds.curves.json", "thresholds.toml"]


def test_a_preview_shows_the_expected_effect_and_writes_nothing(path: Path, first: Fitted, second: Fitted) -> None:
    publish(first, path=path)
    before = files(path.parent)
    result = publish(second, path=path, dry_run=True)
    assert files(path.parent) == before
    assert (result.published, result.version, result.previous_version) == (False, 2, 1)
    change = result.changes[0]
    assert (change.before, change.after) == ("uds", "shm_pool")
    assert change.start_bytes == pytest.approx(50_000, rel=0.2)
    assert change.end_bytes == pytest.approx(150_000, rel=0.2)
    expected_ns = 20_000 + 0.1 * change.at_bytes
    assert change.after_ns == pytest.approx(expected_ns)
    assert change.effect == pytest.approx(expected_ns / (10_000 + 0.3 * change.at_bytes) - 1)
    assert "uds → shm_pool" in result.to_table().rows[0]
    assert "nothing was written" in result.to_table().title
    assert json.loads(json.dumps(result.to_plain()))["changes"][0]["effect"] < 0


def test_the_first_preview_compares_with_the_defaults(path: Path, first: Fitted) -> None:
    result = publish(first, path=path, dry_run=True)
    assert {change.before for change in result.changes} == {"grpc"}
    assert "against the defaults" in result.to_table().title


def test_results_show_themselves_in_a_notebook(path: Path, first: Fitted) -> None:
    assert "Nothing was published yet" in history(path)._repr_html_()
    assert "grpc → uds" in publish(first, path=path)._repr_html_()
    assert "01RUN" in history(path)._repr_html_()


def test_what_is_in_force_is_not_published_again(path: Path, first: Fitted) -> None:
    publish(first, path=path)
    before = files(path.parent)
    result = publish(first, path=path)
    assert not result.published
    assert result.changes == ()
    assert "already says this" in result.to_table().title
    assert files(path.parent) == before


def test_a_pool_with_wishes_of_its_own_has_tables_of_its_own(path: Path, make_curves) -> None:
    path.with_name("perfkit.toml").write_text(
        '[pools.default]\ngoal = "latency"\n[pools.same]\n[pools.ml]\nmethods = ["uds"]\n'
    )
    publish(Fitted(make_curves()), path=path)
    pools = {table.pool: [entry.method for entry in table.ranges] for table in load_thresholds(path).tables}
    assert pools == {"*": ["uds", "shm_pool"], "ml": ["uds"]}


def test_observe_mode_does_not_change_what_is_published(path: Path, first: Fitted) -> None:
    path.with_name("perfkit.toml").write_text('[engine]\nmode = "observe"\n')
    publish(first, path=path)
    assert [entry.method for entry in load_thresholds(path).tables[0].ranges] == ["uds", "shm_pool"]


FAITHFUL = Fidelity(0.99, 1.0, 0.01, 0.06, "latency_ns of uds, tensor/numpy/none, 1MiB", 0.98, 0.001, 400, 80)


def test_curves_that_were_distilled_tell_how_faithful_they_are(path: Path, first: Fitted) -> None:
    distilled = Distilled(first.curves, FAITHFUL, 3)
    result = publish(distilled, path=path)
    assert result.published
    said = "Distilled from a model: 99.0% of 400 cells within 5 % of it, 100.0% within 15 %"
    assert any(said in note for note in result.to_table().notes)
    assert json.loads(json.dumps(result.to_plain()))["fidelity"]["within_15"] == 1.0
    assert publish(distilled, path=path).fidelity == FAITHFUL
    assert publish(first, path=path).to_plain()["fidelity"] is None


def test_curves_that_are_not_what_the_model_says_are_refused_and_can_be_forced(path: Path, first: Fitted) -> None:
    unfaithful = dataclasses.replace(FAITHFUL, within_15=0.949, warnings=("only 94.9% of the cells",))
    distilled = Distilled(first.curves, unfaithful, 3)
    result = publish(distilled, path=path, dry_run=True)
    assert [refusal.name for refusal in result.refusals] == ["fidelity"]
    with pytest.raises(PublishError, match=r"only 94\.9% of the cells; the worst is latency_ns of uds"):
        publish(distilled, path=path)
    forced = publish(distilled, path=path, force=True)
    assert forced.overridden == ("fidelity",)
    assert load_thresholds(path).gate.forced == ("fidelity",)
    barely = dataclasses.replace(unfaithful, within_15=0.95)
    assert publish(Distilled(first.curves, barely, 3), path=path.with_name("other.toml")).published


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        (CurveSet({}), "no latency curve"),
        ("no launches", "launches: the fit rests on 0 launches, must be at least 3"),
    ],
)
def test_evidence_that_is_far_too_thin_is_refused(path: Path, make_curves, curves, expected: str) -> None:
    if curves == "no launches":
        curves = make_curves(evidence=Evidence())
    with pytest.raises(PublishError, match=expected):
        publish(Fitted(curves), path=path)
    assert files(path.parent) == {}


def test_broken_settings_stop_a_publication(path: Path, first: Fitted) -> None:
    path.with_name("perfkit.toml").write_text("[pools.default]\ngoal = 'fast'\n")
    with pytest.raises(ConfigError, match="fast"):
        publish(first, path=path)
    assert not path.exists()


def test_another_version_than_the_previewed_one_is_refused(path: Path, first: Fitted, second: Fitted) -> None:
    publish(first, path=path, expected_version=0)
    with pytest.raises(PublishError, match="holds version 1, the preview was made against 0"):
        publish(second, path=path, expected_version=0)
    assert publish(second, path=path, expected_version=1).version == 2


def test_a_file_that_changes_meanwhile_is_left_alone(path: Path, first: Fitted, second: Fitted, monkeypatch) -> None:
    publish(first, path=path)
    original = publication.locked

    def edited_by_someone_else(folder: Path):
        path.write_text(path.read_text() + "# reviewed by Ann\n")
        return original(folder)

    monkeypatch.setattr(publication, "locked", edited_by_someone_else)
    with pytest.raises(PublishError, match="changed by someone else"):
        publish(second, path=path)
    assert path.read_text().endswith("# reviewed by Ann\n")
    assert load_thresholds(path).version == 1


def test_of_two_publishers_at_once_one_is_refused(path: Path, make_curves) -> None:
    barrier = threading.Barrier(4)
    outcomes: list[str] = []

    def publish_own(number: int) -> None:
        current = publication.read_current(path)
        barrier.wait()
        curves = make_curves({"uds": (10_000 + number, 0.3)})
        candidate = dataclasses.replace(template, curves=curves, curves_sha256=curves.sha256(), run=str(number))
        try:
            publication.replace_current(current, candidate)
            outcomes.append("published")
        except PublishError:
            outcomes.append("refused")

    publish(Fitted(make_curves()), path=path.with_name("template.toml"))
    template = load_thresholds(path.with_name("template.toml"))
    threads = [threading.Thread(target=publish_own, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["published", "refused", "refused", "refused"]
    assert load_thresholds(path).curves_sha256 == load_thresholds(path).curves.sha256()


def test_every_version_is_kept_and_can_be_brought_back(path: Path, first: Fitted, second: Fitted, make_curves) -> None:
    third = Fitted(make_curves({"grpc": (1, 1)}))
    for fit in (first, second, third):
        publish(fit, path=path, force=True)
    assert list(history(path).versions) == [3, 2, 1]
    assert history(path).in_force == 3
    result = rollback(path)
    assert (result.version, result.restores, result.published) == (4, 2, True)
    assert load_thresholds(path).curves == second.curves
    assert rollback(path).restores == 1
    assert load_thresholds(path).curves == first.curves
    assert rollback(path, version=3).version == 6
    assert load_thresholds(path).curves == third.curves
    assert list(history(path).versions) == [6, 5, 4, 3, 2, 1]
    assert "version 3 again" in str(history(path))
    assert json.loads(json.dumps(history(path).to_plain()))["in_force"] == 6


def test_what_cannot_be_brought_back_is_said(path: Path, first: Fitted, second: Fitted) -> None:
    with pytest.raises(PublishError, match="no earlier version"):
        rollback(path)
    publish(first, path=path)
    with pytest.raises(PublishError, match="no earlier version"):
        rollback(path)
    publish(second, path=path)
    with pytest.raises(UnknownNameError, match="unknown version 9; allowed: 1"):
        rollback(path, version=9)
    assert load_thresholds(path).version == 2


def test_a_rollback_can_be_previewed(path: Path, first: Fitted, second: Fitted) -> None:
    publish(first, path=path)
    publish(second, path=path)
    before = files(path.parent)
    result = rollback(path, dry_run=True)
    assert [change.after for change in result.changes] == ["uds"] * len(result.changes)
    assert result.changes
    assert files(path.parent) == before


def test_a_damaged_version_is_shown_and_not_on_offer(path: Path, first: Fitted, second: Fitted) -> None:
    publish(first, path=path)
    publish(second, path=path)
    (history_folder(path) / "v0001.toml").write_text("nonsense")
    assert "damaged" in str(history(path))
    assert history(path).to_plain()["versions"][1]["damaged"]
    with pytest.raises(UnknownNameError):
        rollback(path, version=1)


def test_a_broken_file_is_kept_and_replaced(path: Path, first: Fitted, second: Fitted) -> None:
    publish(first, path=path)
    publish(second, path=path)
    path.write_text("half a fi")
    result = publish(first, path=path)
    assert result.version == 2  # the history knows version 1, and the broken file does not say that it was 2
    assert any("broken" in warning for warning in result.warnings)
    assert load_thresholds(path).curves == first.curves
    assert any(name.startswith("thresholds.history/broken-") for name in files(path.parent))


def test_a_full_disk_leaves_what_is_in_force(path: Path, first: Fitted, second: Fitted, monkeypatch) -> None:
    publish(first, path=path)
    before = files(path.parent)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publication.os, "fsync", full)
    with pytest.raises(PublishError, match=r"No space left on device.*stays in force"):
        publish(second, path=path)
    monkeypatch.undo()
    assert files(path.parent) == before
    assert publish(second, path=path).version == 2


@pytest.mark.parametrize("name", [".", "file/thresholds.toml"])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, first: Fitted, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError):
        publish(first, path=tmp_path / name)


KILLED_PUBLISHERS = """
import os, pathlib, sys
from perfkit.config import publication
from perfkit.config.thresholds import load_thresholds
from perfkit.workflows.publish import publish

def dying(step):
    def call(*arguments, **named):
        global steps_left
        if steps_left == 0:
            os.kill(os.getpid(), 9)
        steps_left -= 1
        return step(*arguments, **named)
    return call

other = load_thresholds(sys.argv[1])
for steps_left, path in enumerate(sys.argv[2:]):
    child = os.fork()
    if child == 0:
        pathlib.Path.replace = dying(pathlib.Path.replace)
        pathlib.Path.mkdir = dying(pathlib.Path.mkdir)
        publication.os.fsync = dying(os.fsync)
        publish(other, path=path)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_a_publisher_killed_at_any_step_leaves_a_consistent_pair(tmp_path: Path, first: Fitted, second: Fitted) -> None:
    other = tmp_path / "other.toml"
    publish(second, path=other)
    paths = [tmp_path / str(steps) / "thresholds.toml" for steps in range(24)]
    publish(first, path=tmp_path / "first" / "thresholds.toml")
    for path in paths:
        shutil.copytree(tmp_path / "first", path.parent)
    command = [sys.executable, "-c", KILLED_PUBLISHERS, str(other), *map(str, paths)]
    done = subprocess.run(command, timeout=60, check=True, capture_output=True, text=True)
    versions = []
    for path in paths:
        loaded = load_thresholds(path)
        versions.append(loaded.version)
        assert loaded.curves == (first.curves if loaded.version == 1 else second.curves)
        assert publish(second, path=path).published == (loaded.version == 1)
        assert load_thresholds(path).curves == second.curves
        assert load_thresholds(history_folder(path) / "v0001.toml").curves == first.curves
    statuses = [int(status) for status in done.stdout.split()]
    assert statuses == sorted(statuses, reverse=True)  # killed with few steps, done with many
    assert statuses.count(signal.SIGKILL) > 10
    assert statuses[-1] == 0
    assert versions == sorted(versions)
    assert {1, 2} == set(versions)
    assert versions[statuses.count(signal.SIGKILL) - 3] == 1  # the last of all steps puts the new version in force


def test_a_publication_and_a_rollback_are_events_of_the_lake(path: Path, first: Fitted, second: Fitted) -> None:
    lake = path.parent / "lake"
    publish(first, path=path, lake=lake)
    publish(second, path=path, lake=lake, dry_run=True)
    publish(second, path=path, lake=lake, force=True)
    rollback(path, lake=lake)
    events = open_fresh_lake(lake).events.order_by("occurred_at").to_pyarrow().to_pylist()
    assert [event["name"] for event in events] == ["published", "published", "rolled back"]
    assert [json.loads(event["details"])["version"] for event in events] == [1, 2, 3]
    assert {event["subject"] for event in events} == {str(path)}


def test_a_lake_that_cannot_be_told_is_a_warning(path: Path, first: Fitted) -> None:
    (path.parent / "journal").write_text("in the way")
    with pytest.warns(UserWarning, match="journal"):
        result = publish(first, path=path, lake=path.parent / "lake")
    assert result.published
    assert any("events" in warning for warning in result.warnings)
