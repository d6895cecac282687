"""Splits and recent performance: nothing of what is held out, and nothing later, leaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.learn.models.features import TransferRows, read_rows
from perfkit.learn.models.splits import folds_of, recent_errors


def rows_at(moments: list[int], methods: list[str], source: str = "service") -> TransferRows:
    return read_rows({
        "method": methods,
        "payload_bytes": [1024] * len(methods),
        "latency_ns": [1000.0] * len(methods),
        "source": [source] * len(methods),
        "stage": ["whole"] * len(methods),
        "observed_at": np.array(moments, "datetime64[us]"),
    })  # fmt: skip


@given(st.lists(st.integers(0, 8), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_a_group_is_never_parted(groups: list[int]) -> None:
    group = np.array(groups)
    fold = folds_of(group)
    for one in np.unique(group):
        assert np.unique(fold[group == one]).size == 1
    assert np.unique(fold).size == min(4, np.unique(group).size)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["uds", "shm"])), min_size=1, max_size=60), st.data())
@settings(max_examples=20, deadline=None)
def test_recent_errors_are_those_of_strictly_earlier_rows_of_the_method(
    made: list[tuple[int, str]], data: st.DataObject
) -> None:
    moments, methods = [moment for moment, _ in made], [method for _, method in made]
    errors = np.array(data.draw(st.lists(st.floats(-0.1, 0.1), min_size=len(made), max_size=len(made))))
    rows = rows_at(moments, methods)
    recent = recent_errors(rows, errors)
    spread = 1.4826 * np.median(np.abs(errors))
    reach = 3 * max(spread, 0.05)
    order = sorted(range(len(made)), key=lambda at: (moments[at], at))
    for at in range(len(made)):
        earlier = [one for one in order if methods[one] == methods[at] and moments[one] < moments[at]][-20:]
        expected = np.clip(errors[earlier], -reach, reach).sum() / (len(earlier) + 5)
        assert recent[at] == pytest.approx(expected, abs=1e-9)


def test_a_lone_launch_is_cut_in_time_and_traffic_apart_from_it() -> None:
    rows = rows_at(list(range(120)), ["uds"] * 120, "bench")
    assert rows.launches == 1
    assert np.unique(rows.group).size == 12
    assert (np.diff(rows.group) >= 0).all()


def test_a_transport_counts_as_a_whole_transfer_of_its_wire_bytes() -> None:
    rows = read_rows({
        "method": ["uds", "uds"],
        "stage": ["transport", "whole"],
        "format": ["arrow", "arrow"],
        "payload_bytes": [100, 100],
        "wire_bytes": [60, 60],
        "latency_ns": [5.0, 9.0],
    })  # fmt: skip
    assert rows.numbers["payload_bytes"].tolist() == [60, 100]
    assert [rows.names["format"][code] for code in rows.codes["format"]] == ["raw", "arrow"]
