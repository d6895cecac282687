"""Every row is learned from once, however late it arrives and however rows are numbered."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import ModelError
from perfkit.lake import open_lake
from perfkit.learn.models import CostModel
from perfkit.workflows.learning import versions
from perfkit.workflows.learning.evidence import open_evidence
from perfkit.workflows.learning.learned import Learned, digests


def test_late_rows_are_new_once_with_numbers_or_without(record: Any, traffic: Any) -> None:
    lake = open_lake(record.lake)
    record(30, begins=1000)
    lake.append_transfers(traffic(20, begins=1000))
    learned = open_evidence(record.lake).everything()
    assert open_evidence(record.lake).new_to(learned).num_rows == 0

    record(5, begins=0)  # of the same service, but earlier
    type(record)(record.lake, producer="slot-001")(7, begins=-500)
    lake.append_transfers(traffic(3, begins=-900))
    evidence = open_evidence(record.lake)
    assert evidence.new_to(learned).num_rows == 15
    assert evidence.known_to(learned, 1000).num_rows == 50
    assert evidence.known_to(learned, 8).num_rows <= 8
    everything = evidence.everything()
    assert evidence.new_to(everything).num_rows == 0
    assert evidence.new_to(Learned()).num_rows == 65
    DeltaTable(record.lake / "transfers").optimize.compact()  # rows move into other files
    assert open_evidence(record.lake).new_to(everything).num_rows == 0


@given(arrival=st.permutations(range(12)), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_of_any_arrival_every_row_is_learned_from_exactly_once(arrival: list[int], cuts: list[int]) -> None:
    """Rows of two slots reach a lake in the order of their numbers, whatever their times are."""
    slot = np.array(arrival) % 2
    number = np.cumsum(slot == 0) * (slot == 0) + np.cumsum(slot == 1) * (slot == 1)
    table = pa.table({
        "run_id": [""] * 12, "producer": [f"slot-{one}" for one in slot], "epoch": [1] * 12,
        "producer_sequence": number,
    })  # fmt: skip
    learned, times = Learned(), np.zeros(12, int)
    for end in [*sorted(cuts), 12]:
        times[:end] += ~learned.holds(table.slice(0, end))
        marks = {("", f"slot-{one}", 1): int(number[:end][slot[:end] == one].max(initial=0)) for one in (0, 1)}
        learned = Learned.from_plain(json.loads(json.dumps(Learned(marks).to_plain())))
    assert times.tolist() == [1] * 12


def test_digests_tell_rows_apart_whatever_their_order(traffic: Any) -> None:
    table = open_lake_rows(traffic(200))
    order = np.random.default_rng(1).permutation(200)
    assert len(set(digests(table).tolist())) == 200
    assert digests(table.take(order)).tolist() == digests(table)[order].tolist()
    for name in ("observed_at", "latency_ns"):
        column = pa.nulls(200, table.schema.field(name).type)
        other = table.set_column(table.column_names.index(name), name, column)
        assert not np.isin(digests(other), digests(table)).any()


def open_lake_rows(table: pa.Table) -> pa.Table:
    """With the columns that rows without a producer are told apart by."""
    zeros = pa.array([0] * table.num_rows)
    for name in ("launch", "round", "sequence"):
        table = table.append_column(name, zeros)
    return table.append_column("run_id", pa.array([""] * table.num_rows)).append_column("in_flight", zeros)


def test_a_version_of_before_has_learned_from_what_was_observed_until_then(
    tmp_path: Any, record: Any, small_model: CostModel
) -> None:
    version = versions.keep_version(small_model, tmp_path / "models").version
    learned = versions.learned_from(tmp_path / "models", version, small_model)
    record(60)
    record(20, begins=600)
    assert open_evidence(record.lake).new_to(learned).num_rows == 20


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"marks": [[1]]}'])
def test_a_damaged_record_is_named(tmp_path: Any, small_model: CostModel, text: str) -> None:
    versions.keep_version(small_model, tmp_path, learned=Learned(shifted_at=datetime.datetime.now(datetime.UTC)))
    assert versions.learned_from(tmp_path, 1, small_model).shifted_at is not None
    (tmp_path / "v0001" / "learned.json").write_text(text)
    with pytest.raises(ModelError, match=r"learned\.json"):
        versions.learned_from(tmp_path, 1, small_model)
