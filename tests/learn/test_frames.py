"""Frames of every kind are read alike, and bad ones refused with what to do."""

import types

import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perfkit.errors import FitError
from perfkit.learn import fit
from perfkit.learn.frames import read_observations

FRAMES = {
    "dictionary": dict,
    "arrow": pa.table,
    "arrow, text in dictionaries": lambda columns: pa.table(columns).set_column(
        0, "method", pa.chunked_array([pa.array(columns["method"]).dictionary_encode()])
    ),
    "polars, text in categories": lambda columns: pl.DataFrame(columns).with_columns(
        pl.col("method").cast(pl.Categorical)
    ),
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "ibis": lambda columns: ibis.memtable(pa.table(columns)),
    "records": lambda columns: pd.DataFrame(columns).to_dict("records"),
    "result": lambda columns: types.SimpleNamespace(observations=pa.table(columns), fingerprint={"kernel": "6.18"}),
}


@pytest.fixture
def columns(exact_frame):
    """A small frame of two methods."""
    return exact_frame({"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1)})


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same_curves(columns, kind):
    assert fit(FRAMES[kind](columns)).curves.curves == fit(columns).curves.curves


def test_a_result_brings_its_fingerprint(columns):
    assert fit(FRAMES["result"](columns)).curves.fingerprint == {"kernel": "6.18"}
    assert fit(FRAMES["result"](columns), fingerprint={"kernel": "7"}).curves.fingerprint == {"kernel": "7"}


def test_only_warm_untouched_successes_count(columns):
    n = len(columns["method"])
    kept = np.arange(n) % 2 == 0
    for column, left_out in (("ok", False), ("touched", True), ("temperature", "cold")):
        values = np.where(kept, {"ok": True, "touched": False, "temperature": "warm"}[column], left_out)
        assert len(read_observations({**columns, column: values})) == kept.sum()


def test_replies_and_what_services_timed_whole_are_no_measurement(columns):
    n = len(columns["method"])
    kept = np.arange(n) % 2 == 0
    assert len(read_observations({**columns, "direction": np.where(kept, "request", "reply")})) == kept.sum()
    traffic = {"source": np.where(kept, "bench", "service"), "stage": np.full(n, "whole")}
    assert len(read_observations({**columns, **traffic})) == kept.sum()
    with pytest.raises(FitError, match="traffic of services is no measurement"):
        read_observations({**columns, "direction": np.full(n, "reply")})


def test_a_frame_of_a_service_that_timed_the_transport_alone_can_be_fitted(columns):
    n = len(columns["method"])
    assert len(read_observations({**columns, "source": np.full(n, "service")})) == n


def test_failed_transfers_may_hold_impossible_figures(columns):
    columns["latency_ns"][3] = -1
    ok = np.arange(len(columns["method"])) != 3
    assert len(read_observations({**columns, "ok": ok})) == ok.sum()


def test_a_missing_size_on_the_wire_is_the_payloads(columns):
    table = pa.table(columns).append_column("wire_bytes", pa.nulls(len(columns["method"]), pa.int64()))
    read = read_observations(table)
    assert (read.numbers["wire_bytes"] == read.numbers["payload_bytes"]).all()


def test_missing_columns_are_named(columns):
    del columns["latency_ns"]
    with pytest.raises(FitError, match=r"lacks latency_ns; got method, payload_bytes"):
        fit(columns)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("column", ["latency_ns", "payload_bytes"])
def test_impossible_figures_are_refused(columns, column, value):
    columns[column] = columns[column].astype(float)
    columns[column][5] = value
    with pytest.raises(FitError, match=rf"{column} holds 1 values .* repair or drop"):
        fit(columns)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({}, "lacks method, payload_bytes, latency_ns; got no columns"),
        ([], "lacks method"),
        (7, "a int cannot be read as a frame"),
        ({"method": ["uds", "uds"], "payload_bytes": [1, 2], "latency_ns": [3]}, "cannot be read as a frame"),
        (
            {"method": ["uds"], "payload_bytes": ["many"], "latency_ns": [3]},
            "payload_bytes is of type string; give num",
        ),
        ({"method": ["uds"], "payload_bytes": [1], "latency_ns": [3], "touched": ["no"]}, "touched"),
        ({"method": ["uds"], "payload_bytes": [1], "latency_ns": [3], "ok": [False]}, "none of the 1 observations"),
        ({"method": ["x"], "payload_bytes": [1], "latency_ns": [3], "stage": ["control"]}, "no transfer of stage"),
    ],
)
def test_what_is_no_frame_is_refused_with_what_to_do(frame, message):
    with pytest.raises(FitError, match=message):
        fit(frame)


def test_an_empty_frame_says_what_to_do(columns):
    with pytest.raises(FitError, match="perfkit bench"):
        fit({name: values[:0] for name, values in columns.items()})
