"""Pins name what stays readable, and end with their keeper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake, open_lake
from perfkit.lake.pins import active_pins, all_pins, pin, pin_run, pinned_runs, unpin, unpin_run


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "lake")


def test_a_pin_is_kept_on_disk_and_read_back(lake: Lake) -> None:
    made = pin(lake, "report-1", {"transfers": 7, "runs": 3, "events": -1})
    assert dict(made.versions) == {"transfers": 7, "runs": 3}
    assert active_pins(open_lake(lake.path)) == (made,)
    assert json.loads((lake.path / "pins" / "report-1.json").read_text()) == made.to_plain()
    assert not list((lake.path / "pins").glob(".*"))


def test_a_pin_of_the_same_name_is_replaced(lake: Lake) -> None:
    pin(lake, "report-1", {"transfers": 7})
    pin(lake, "report-1", {"transfers": 8})
    assert [dict(one.versions) for one in all_pins(lake)] == [{"transfers": 8}]


def test_a_pin_ends_with_its_keeper(lake: Lake, tmp_path: Path) -> None:
    report = tmp_path / "reports" / "one"
    report.mkdir(parents=True)
    pin(lake, "report-1", {"transfers": 7}, keeper=report)
    assert [one.name for one in active_pins(lake)] == ["report-1"]
    report.rmdir()
    assert active_pins(lake) == ()
    assert [one.name for one in all_pins(lake)] == ["report-1"]


def test_the_keeper_is_relative_to_the_lake_so_that_both_can_be_moved_together(lake: Lake, tmp_path: Path) -> None:
    report = tmp_path / "reports" / "one"
    report.mkdir(parents=True)
    made = pin(lake, "report-1", {"transfers": 7}, keeper=report)
    assert made.keeper == "../reports/one"
    (moved := tmp_path / "elsewhere").mkdir()
    lake.path.rename(moved / "lake")
    assert active_pins(open_lake(moved / "lake")) == ()
    (tmp_path / "reports").rename(moved / "reports")
    assert len(active_pins(open_lake(moved / "lake"))) == 1


@pytest.fixture
def linked(tmp_path: Path) -> Lake:
    """A lake that is a link to a folder at another depth, with a report beside the link."""
    for folder in ("disk/deep/er/lake", "project/data", "project/reports/one"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project" / "data" / "lake").symlink_to(tmp_path / "disk" / "deep" / "er" / "lake")
    return open_lake(tmp_path / "project" / "data" / "lake")


def test_a_keeper_is_found_from_a_lake_behind_a_link_however_the_lake_is_named(
    linked: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "project" / "reports" / "one"
    pin(linked, "report-1", {"transfers": 7}, keeper=report)
    monkeypatch.chdir(tmp_path / "project")
    names = (linked.path, "data/lake", tmp_path / "disk/deep/er/lake", "../disk/deep/er/lake")
    assert [len(active_pins(open_lake(name))) for name in names] == [1] * 4
    pin(open_lake("data/lake"), "report-1", {"transfers": 7}, keeper="reports/one")
    assert [len(active_pins(open_lake(name))) for name in names] == [1] * 4
    report.rmdir()
    assert [len(active_pins(open_lake(name))) for name in names] == [0] * 4


def test_a_keeper_is_found_when_the_lake_was_moved_and_a_link_left_in_its_place(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    pin(lake, "report-1", {"transfers": 7}, keeper=tmp_path / "reports")
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    lake.path.rename(tmp_path / "disk" / "deep" / "lake")
    lake.path.symlink_to(tmp_path / "disk" / "deep" / "lake")
    assert len(active_pins(lake)) == 1


def test_a_pin_is_released_once(lake: Lake) -> None:
    pin(lake, "report-1", {"transfers": 7})
    assert unpin(lake, "report-1")
    assert not unpin(lake, "report-1")
    assert all_pins(lake) == ()


def test_runs_are_pinned_by_their_id(lake: Lake) -> None:
    assert pinned_runs(lake) == frozenset()
    for run_id in ("20261121-080000-aaaa", "20261121-090000-bbbb", "20261121-090000-bbbb"):
        pin_run(lake, run_id)
    assert pinned_runs(lake) == {"20261121-080000-aaaa", "20261121-090000-bbbb"}
    assert unpin_run(lake, "20261121-080000-aaaa")
    assert not unpin_run(lake, "20261121-080000-aaaa")
    assert pinned_runs(lake) == {"20261121-090000-bbbb"}


@pytest.mark.parametrize("name", ["", "../escape", ".hidden", "a b", "a/b", "x" * 201])
def test_a_name_that_is_no_file_name_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(InputError, match="cannot be that of a file"):
        pin(lake, name, {"transfers": 7})
    with pytest.raises(InputError, match="cannot be that of a file"):
        unpin(lake, name)


@pytest.mark.parametrize("text", ["not json", "{}", '{"name": "a", "versions": {}, "colour": "red"}', "[1]"])
def test_a_damaged_pin_stops_what_would_remove_and_says_what_to_do(lake: Lake, text: str) -> None:
    pin(lake, "report-1", {"transfers": 7})
    (lake.path / "pins" / "report-1.json").write_text(text)
    with pytest.raises(LakeError, match=r"report-1.json cannot be read.*restore the file, or remove it"):
        active_pins(lake)


def test_a_pin_that_cannot_be_written_says_what_to_check() -> None:
    with pytest.raises(LakeError, match=r"cannot be written.*free space and permissions"):
        pin(open_lake("/proc/lake"), "report-1", {"transfers": 7})
