"""A result reads as a sequence, as a table, as a sentence and as plain values."""

from __future__ import annotations

import json

from perfkit.stats.change_points import ChangePoint, ChangePoints

FOUND = ChangePoints((ChangePoint(120, 100.0, 110.0, 0.1, 1e-9, 0.999),), 200, 50, 0.05, 0.005, ("it is short",))


def test_it_is_a_sequence_of_its_changes() -> None:
    assert len(FOUND) == 1
    assert FOUND[0] is FOUND.points[0]
    assert FOUND[:1] == FOUND.points
    assert list(FOUND) == list(FOUND.points)


def test_it_says_what_changed_and_how_often_nothing_would_look_like_it() -> None:
    text = str(FOUND)
    assert "+10.0% from value 120 on" in text
    assert "0.5% of cases" in " ".join(text.split())
    assert "! it is short" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "<td" in FOUND._repr_html_()


def test_without_a_change_it_says_so_without_an_empty_table() -> None:
    text = str(ChangePoints((), 200, 200, 0.05, 0.01))
    assert "No change of 5% or more in 200 values" in text
    assert "before" not in text


def test_it_is_json() -> None:
    plain = json.loads(json.dumps(FOUND.to_plain()))
    assert plain["points"][0]["index"] == 120
    assert plain["false_alarm_rate"] == 0.005
