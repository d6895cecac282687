"""What goes into a body comes out of it, and nothing else goes in."""

from __future__ import annotations

import datetime
import math
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError, JournalError, UnknownNameError
from perfkit.journal.encoding import encode_batches
from perfkit.journal.reading import decode_body
from perfkit.schema import DECISION_COLUMNS, EVENT_COLUMNS, PRODUCER_COLUMNS, TRANSFER_COLUMNS, Column

VALUES = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["uds", "grpc", ""]),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 1]),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, -129, 2**31]),
    "float64": st.floats() | st.sampled_from([0.0, -0.0, 1.0]),
    "timestamp[us, tz=UTC]": st.datetimes(timezones=st.just(datetime.UTC)),
}
TABLES = {"transfers": TRANSFER_COLUMNS, "decisions": DECISION_COLUMNS, "events": EVENT_COLUMNS}
SMALL = {"method": "uds", "payload_bytes": 4096, "latency_ns": 21_000}


def values_of(column: Column) -> st.SearchStrategy[Any]:
    return VALUES[column.type] | st.none() if column.default is None else VALUES[column.type]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, int, dict[str, Any]]:
    """A table, its number of rows, and columns of it: lists, or one value for all."""
    table = draw(st.sampled_from(sorted(TABLES)))
    rows = draw(st.integers(1, 40))
    columns: dict[str, Any] = {}
    for column in TABLES[table]:
        if column not in PRODUCER_COLUMNS and (column.required or draw(st.booleans())):
            one, many = values_of(column), st.lists(values_of(column), min_size=rows, max_size=rows)
            columns[column.name] = draw(many if column.required or draw(st.booleans()) else one)
    return table, rows, columns


def same(got: Any, given_value: Any) -> bool:
    if isinstance(given_value, float) and isinstance(got, float):
        both_nan = math.isnan(got) and math.isnan(given_value)
        return both_nan or (got == given_value and math.copysign(1, got) == math.copysign(1, given_value))
    return type(got) is type(given_value) and bool(got == given_value)


@settings(max_examples=150, deadline=None)
@given(tables())
def test_rows_come_out_as_they_went_in(drawn: tuple[str, int, dict[str, Any]]) -> None:
    table, rows, columns = drawn
    (batch,) = encode_batches(table, columns)
    assert (batch.table, batch.rows) == (table, rows)
    decoded = decode_body(batch.body)
    assert list(decoded) == list(columns)
    for name, given_values in columns.items():
        expected = given_values if isinstance(given_values, list) else [given_values] * rows
        got = decoded[name].to_list()
        assert len(got) == rows
        assert all(map(same, got, expected)), name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    (batch,) = encode_batches("transfers", {**SMALL, "latency_ns": [1, 2, 300_000], "session": ["a", "b", "c"]})
    place = data.draw(st.integers(0, len(batch.body) - 1))
    changed = bytearray(batch.body)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(JournalError, match=r"must begin with|checksum"):
        decode_body(bytes(changed))


@pytest.mark.parametrize("length", [0, 3, 15, 16, -1])
def test_a_body_that_is_cut_short_is_noticed(length: int) -> None:
    (batch,) = encode_batches("transfers", SMALL)
    with pytest.raises(JournalError, match=r"must begin with|checksum"):
        decode_body(batch.body[:length])


def test_a_column_of_equal_values_takes_no_room_per_row() -> None:
    columns = {"method": ["uds"] * 5000, "payload_bytes": [4096] * 5000, "latency_ns": [7] * 5000}
    (many,) = encode_batches("transfers", columns)
    (one,) = encode_batches("transfers", {name: values[:1] for name, values in columns.items()})
    assert len(many.body) - len(one.body) <= 8


def test_numbers_are_as_narrow_as_they_can_be() -> None:
    columns = {**SMALL, "latency_ns": [100, -100], "wire_bytes": [300, 0], "copied_bytes": [2**20, 0]}
    (batch,) = encode_batches("transfers", {**columns, "interval_ns": [2**40, 0]})
    decoded = decode_body(batch.body)
    formats = [decoded[name].format for name in ("latency_ns", "wire_bytes", "copied_bytes", "interval_ns")]
    assert formats == ["b", "h", "i", "q"]


def test_many_rows_are_split_and_stay_in_order() -> None:
    batches = encode_batches("transfers", {**SMALL, "latency_ns": range(150_000)})
    assert [batch.rows for batch in batches] == [65_536, 65_536, 18_928]
    assert decode_body(batches[1].body)["latency_ns"].to_list()[:2] == [65_536, 65_537]


BUFFERS = (tuple, lambda values: array("q", values), np.array, lambda values: memoryview(array("q", values)))


@pytest.mark.parametrize("make", BUFFERS)
def test_sequences_and_buffers_are_taken(make: Any) -> None:
    (batch,) = encode_batches("transfers", {**SMALL, "latency_ns": make([5, 6, 2**40])})
    assert decode_body(batch.body)["latency_ns"].to_list() == [5, 6, 2**40]


def test_a_timestamp_may_be_given_in_microseconds() -> None:
    moment = datetime.datetime(2026, 11, 20, 21, 4, 0, 123_456, tzinfo=datetime.UTC)
    later = moment.astimezone(datetime.timezone(datetime.timedelta(hours=5)))
    microseconds = round(moment.timestamp() * 1e6)
    for values in ([moment, later], [microseconds, microseconds], [moment, microseconds], [microseconds, moment]):
        (batch,) = encode_batches("transfers", {**SMALL, "latency_ns": [1, 2], "observed_at": values})
        assert decode_body(batch.body)["observed_at"].to_list() == [moment, moment]


def test_no_rows_make_no_batch() -> None:
    assert encode_batches("transfers", {"method": [], "payload_bytes": [], "latency_ns": []}) == ()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("latency_ns", "fast", r"latency_ns == 'fast' of type str, allowed are whole numbers"),
        ("latency_ns", 1.5, r"latency_ns == 1.5 of type float"),
        (
            "latency_ns",
            None,
            r"latency_ns == None of type NoneType, .* whole numbers from -2\^63 to 2\^63 - 1;",
        ),
        ("latency_ns", 2**63, r"latency_ns == 9223372036854775808"),
        ("in_flight", 2**31, r"in_flight == 2147483648 .* 2\^31 - 1"),
        ("method", 7, r"method == 7 of type int, allowed are text;"),
        ("method", b"uds", r"method == b'uds' of type bytes"),
        ("method", "\ud800", r"method == '\\ud800'"),
        ("error", 7, r"error == 7 of type int, allowed are text, or None"),
        ("ok", 1, r"ok == 1 of type int, allowed are True or False"),
        ("observed_at", datetime.datetime(2026, 1, 1), r"observed_at == datetime.* with a time zone"),
        ("observed_at", "today", r"observed_at == 'today'"),
    ],
)
@pytest.mark.parametrize("in_a_list", [False, True])
def test_a_value_that_its_column_does_not_hold_is_refused(
    column: str, value: Any, message: str, in_a_list: bool
) -> None:
    rows = {name: [given_value] * 3 for name, given_value in SMALL.items()}
    rows["payload_bytes"] = [1, 2, 3]
    good = {"in_flight": 1, "error": "x", "ok": True, "observed_at": 5, "session": "s", **SMALL}[column]
    rows[column] = [good, good, value] if in_a_list else value
    with pytest.raises(JournalError, match=message):
        encode_batches("transfers", rows)


def test_an_unhashable_text_is_refused() -> None:
    with pytest.raises(JournalError, match="session == \\['a'\\] of type list"):
        encode_batches("transfers", {**SMALL, "session": [["a"], ["b"]]})


def test_columns_must_agree_in_length() -> None:
    with pytest.raises(JournalError, match=r"differ in length \(method: 2, latency_ns: 3\)"):
        encode_batches("transfers", {"method": ["a", "b"], "payload_bytes": 1, "latency_ns": [1, 2, 3]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2)), "2 dimensions"),
        (np.array(["a"], dtype=object), "format 'O'"),
        ({1, 2}, "is a set, allowed"),
    ],
)
def test_what_is_no_row_of_values_is_refused(values: Any, message: str) -> None:
    with pytest.raises(JournalError, match=message):
        encode_batches("transfers", {**SMALL, "latency_ns": values})


def test_names_that_do_not_exist_are_named() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown table 'transfer'.*Did you mean 'transfers'"):
        encode_batches("transfer", SMALL)
    with pytest.raises(UnknownNameError, match=r"unknown column of transfers 'latency'.*Did you mean 'latency_ns'"):
        encode_batches("transfers", {**SMALL, "latency": 5})
    with pytest.raises(UnknownNameError, match="The drain writes it"):
        encode_batches("transfers", {**SMALL, "producer": "slot-000"})
    with pytest.raises(UnknownNameError, match="unknown table 'rollups'"):
        encode_batches("rollups", {})


def test_a_column_that_rows_need_is_asked_for() -> None:
    with pytest.raises(InputError, match="rows of transfers need latency_ns too; got method, payload_bytes"):
        encode_batches("transfers", {"method": "uds", "payload_bytes": 5})
