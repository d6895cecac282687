"""What changed between two runs is judged by intervals, and what cannot be judged is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perfkit.report.notebook.records import Record
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.site.changes import (
    changes_between,
    count_notable,
    figure_change,
    figures_of,
    last_good_before,
)
from perfkit.report.site.changes_view import changes_html


def run_of(
    records: Sequence[Record], run_id: str = "20260102", status: str = "complete", **facts: Any
) -> PipelineResult:
    notebook = NotebookResult("30_tune", status, records=tuple(records))
    start = f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}T03:00:00+00:00"
    plain: dict[str, Any] = {"pipeline": "nightly", "parameters": {}, **facts}
    return PipelineResult(
        run_id=run_id,
        status=status,
        started_at=start,
        seconds=60.0,
        report_path=Path(run_id),
        thresholds_path=Path("thresholds.toml"),
        published_version=None,
        git_revision="",
        notebooks=(notebook,),
        **plain,
    )


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (Record("a", 10.0, 9, 11, "ns"), Record("a", 13.0, 12, 14, "ns"), "changed"),
        (Record("a", 10.0, 9, 11, "ns"), Record("a", 8.0, 7, 8.5, "ns"), "changed"),
        (Record("a", 10.0, 9, 11, "ns"), Record("a", 12.0, 11, 14, "ns"), "no clear change"),
        (Record("a", 10.0, 9, 11), Record("a", 10.0, 9, 11), "the same"),
        (Record("a", 10), Record("a", 13), "differs, no interval"),
        (Record("a", 10.0, 9, 11), Record("a", 130.0), "differs, no interval"),
        (Record("a", "uds"), Record("a", "shm_pool"), "differs, no interval"),
        (Record("a", 10, unit="ns"), Record("a", 10, unit="bytes"), "another unit"),
        (None, Record("a", 10), "new"),
        (Record("a", 10), None, "gone"),
    ],
)
def test_a_figure_is_judged_by_its_intervals(before: Record | None, after: Record | None, kind: str) -> None:
    assert figure_change("tune", "tune", before, after).kind == kind


def test_another_verdict_is_told_whatever_the_intervals_say() -> None:
    better, worse = Record("cost", 0.9, 0.8, 1.1, "x", "better"), Record("cost", 1.0, 0.9, 1.2, "x", "equivalent")
    change = figure_change("tune", "tune", better, worse)
    assert change.verdict == "verdict changed: better → equivalent"
    assert change.is_notable
    assert not figure_change("tune", "tune", better, Record("cost", 1.0, 0.9, 1.2, "x")).is_notable


@pytest.mark.parametrize(("before", "after"), [(0, 3), (-2.0, 3.0), ("a", 3), (float("inf"), 3)])
def test_without_a_positive_number_before_there_is_no_relative_change(before: Any, after: Any) -> None:
    assert figure_change("tune", "tune", Record("a", before), Record("a", after)).relative_text == ""


def test_the_sentence_names_what_changed_and_counts_the_rest() -> None:
    before = run_of(
        [Record("edge", 48, 40, 50), Record("n", 480), Record("tail", 2.0, 1, 3), Record("old", 1)], "20260101"
    )
    after = run_of([Record("edge", 64, 60, 70), Record("n", 510), Record("tail", 2.5, 2, 4), Record("fresh", 1)])
    changes = changes_between(before, after)
    assert changes.sentence == (
        "Since the run of 2026-01-01 03:00 UTC 1 of 3 figures changed: edge (48 → 64, +33%). "
        "1 without an interval differs. 1 is new. 1 is gone."
    )
    assert [one.name for one in changes.figures] == ["edge", "n", "tail", "fresh", "old"]
    assert changes.to_plain()["changed"] == count_notable(figures_of(before), figures_of(after)) == 1
    assert "no clear change" in str(changes)
    assert changes_between(before, before).sentence.endswith("none of 4 figures changed clearly.")
    assert changes_between(after, before).sentence.startswith("Against the run of 2026-01-02 03:00 UTC 1 of 3 figures")
    assert "no figure can be compared" in changes_between(run_of([], "20260101"), after).sentence


def test_figures_of_one_name_are_compared_in_their_order_and_by_page() -> None:
    before = run_of([Record("edge", 1, 1, 1), Record("edge", 5, 5, 5)], "20260101")
    after = run_of([Record("edge", 1, 1, 1), Record("edge", 9, 9, 9)])
    changes = changes_between(before, after)
    assert [one.kind for one in changes.figures] == ["the same", "changed"]
    assert changes.of_page("10_benchmark").figures == ()


def test_what_makes_a_comparison_unfair_is_named() -> None:
    before = run_of([], "20260101", parameters={"preset": "quick"}, fingerprint={"kernel": "6.12", "cpu": "unknown"})
    after = run_of(
        [],
        parameters={"preset": "full", "launches": 5},
        fingerprint={"kernel": "6.18", "cpu": "EPYC"},
        pipeline="weekly",
    )
    assert changes_between(before, after).warnings == (
        "They are runs of two reports: nightly and weekly.",
        "Other parameters: preset quick → full, launches default → 5.",
        "Another host: kernel 6.12 → 6.18.",
    )
    versions = run_of([], installed={"perfkit": "0.1"}), run_of([], installed={"perfkit": "0.2", "numpy": "2.0"})
    assert changes_between(*versions).warnings == ("Other versions: perfkit 0.1 → 0.2.",)


def test_the_picture_has_room_for_what_changed_and_points_to_what_is_cut_off() -> None:
    same = [Record(f"same {number}", 100.0, 99, 101) for number in range(9)]
    doubled = [Record("doubled", 100.0, 95, 105)], [Record("doubled", 190.0, 180, 198)]
    body = changes_html(changes_between(run_of([*doubled[0], *same], "20260101"), run_of([*doubled[1], *same])))
    assert "×2<" in body
    assert "<path" not in body
    times_ten = [Record("x", 10.0, 9, 11)], [Record("x", 100.0, 90, 110)]
    body = changes_html(changes_between(run_of([*times_ten[0], *same], "20260101"), run_of([*times_ten[1], *same])))
    assert "×3<" in body
    assert body.count('<path class="after"') == 1
    assert body.count("<path") == 1


def test_the_last_good_run_is_the_newest_complete_one_of_the_same_report_before_it() -> None:
    good, failed, later = run_of([], "20260101"), run_of([], "20260102", status="failed"), run_of([], "20260103")
    other, newest = run_of([], "20260102", pipeline="weekly"), run_of([], "20260104")
    runs = [newest, other, failed, later, good]
    assert last_good_before(later, runs) is good
    assert last_good_before(good, runs) is None
    # The clock was set back between the two: the ids stay in order.
    assert last_good_before(dataclasses.replace(later, started_at="2025-12-31T03:00:00+00:00"), runs) is good
