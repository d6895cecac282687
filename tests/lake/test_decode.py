"""Bodies of the journal become the Arrow rows that were recorded, however each batch chose to store them."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import JournalError, LakeError
from perfkit.journal.encoding import encode_batches
from perfkit.journal.reading import Batch
from perfkit.lake.decode import decode_batch, to_arrow
from perfkit.schema import arrow_schema

INT64 = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1))
MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1), timezones=st.just(datetime.UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "method": st.one_of(st.sampled_from(["uds", "grpc"]), st.text(max_size=5)),
    "payload_bytes": INT64,
    "latency_ns": INT64,
    "observed_at": st.none() | MOMENTS,
    "wire_bytes": st.none() | INT64,
    "error": st.none() | st.text(max_size=5),
    "launch": st.integers(-(2**31), 2**31 - 1),
    "ok": st.booleans(),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=8)


def batch_of(rows: list[dict[str, Any]], first_sequence: int, names: list[str] | None = None) -> Batch:
    names = list(VALUES) if names is None else names
    (encoded,) = encode_batches("transfers", {name: [row[name] for row in rows] for name in names})
    return Batch("slot-003", "transfers", 9, 7, 2, first_sequence, len(rows), encoded.body)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_values_of_many_batches_come_back(batches: list[list[dict[str, Any]]]) -> None:
    decoded, first = [], 1
    for rows in batches:
        decoded.append(decode_batch(batch_of(rows, first)))
        first += len(rows)
    table = to_arrow("transfers", decoded)
    table.validate(full=True)
    assert table.schema.equals(arrow_schema(), check_metadata=False)
    assert table.select(list(VALUES)).to_pylist() == [row for rows in batches for row in rows]
    assert table.column("producer_sequence").to_pylist() == list(range(1, first))
    assert set(table.column("epoch").to_pylist()) == {7}


def test_batches_with_other_columns_get_their_defaults() -> None:
    row = {"method": "uds", "payload_bytes": 1, "latency_ns": 2, "error": "PeerLostError", "launch": 3}
    batches = [
        batch_of([row], 1, ["method", "payload_bytes", "latency_ns", "error"]),
        batch_of([row], 2, ["method", "payload_bytes", "latency_ns", "launch"]),
    ]
    rows = to_arrow("transfers", [decode_batch(batch) for batch in batches]).to_pylist()
    assert [(row["error"], row["launch"], row["signalling"]) for row in rows] == [
        ("PeerLostError", 0, "uds"),
        (None, 3, "uds"),
    ]


def test_no_batch_is_an_empty_table() -> None:
    assert to_arrow("events", []).schema.names == arrow_schema("events").names


def test_body_that_changed_is_refused() -> None:
    batch = batch_of(
        [{"method": "uds", "payload_bytes": 1, "latency_ns": 2}], 1, ["method", "payload_bytes", "latency_ns"]
    )
    changed = batch.body[:-1] + bytes([batch.body[-1] ^ 1])
    with pytest.raises(JournalError, match="checksum"):
        decode_batch(dataclasses.replace(batch, body=changed))
    with pytest.raises(LakeError, match="another number of rows"):
        decode_batch(dataclasses.replace(batch, rows=2))
    with pytest.raises(LakeError, match="columns latency_ns, decision_id"):
        decode_batch(dataclasses.replace(batch, table="decisions"))
