"""The tables: every row that perfkit keeps, defined once.

Everything that stores, ships or reads rows derives its columns from here: the record, the journal, the Arrow schema,
the lake's table. An observation is a row of ``transfers``. `SCHEMA_VERSION` grows with every change of any column.

Vocabulary of the values (see docs/reference for the full list):

* ``stage``: ``transport`` (bytes over a method), ``encode``, ``encode_into`` (straight into the destination),
  ``decode``, ``whole`` (a crossed cell, measured from encode to decode), ``control`` (in every round, to see drift).
* ``placement``: ``copied`` (write + send, the normal case) or ``in_place`` (the payload was born in a pool block).
* ``touched``: the receiver also read every byte. ``in_place`` and not touched is what people call *offset-only*.
* ``temperature``: ``cold`` (first use of the memory) or ``warm``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "COMPRESSIONS",
    "DECISION_COLUMNS",
    "ENTROPIES",
    "EVENT_COLUMNS",
    "FORMATS",
    "IN_FLIGHT_LEVELS",
    "JOURNALLED_TABLES",
    "KINDS",
    "PRODUCER_COLUMNS",
    "ROLLUP_COLUMNS",
    "SCHEMA_VERSION",
    "SERIALIZATION_FAMILY",
    "SIGNALLINGS",
    "SIMPLICITY_ORDER",
    "STAGES",
    "TABLES",
    "TRANSFER_COLUMNS",
    "ZERO_COPY_FAMILY",
    "Column",
    "arrow_schema",
]

SCHEMA_VERSION = 5
"""1: transfers and runs. 2: who produced a row, decisions, events, rollups. 3: stages of a service's transfer, which
methods could not carry it, and whether it was a request or its reply. 4: experiment, variant, propensity and plan
version of a service's transfer; the experiment of a decision. 5: memory that was available during a transfer."""

KINDS = ("tensor", "dataframe", "binary", "text")
FORMATS = ("numpy", "arrow", "pickle", "msgpack", "json", "raw")
COMPRESSIONS = ("none", "lz4", "zstd")
ENTROPIES = ("incompressible", "1.5:1", "4:1")
SIGNALLINGS = ("uds", "grpc")
STAGES = ("transport", "encode", "encode_into", "decode", "whole", "control")
PLACEMENTS = ("copied", "in_place")
TEMPERATURES = ("warm", "cold")
IN_FLIGHT_LEVELS = (1, 4, 16)
ZERO_COPY_FAMILY = ("shm_pool", "shm")
SERIALIZATION_FAMILY = ("uds", "grpc", "grpc_stream")
SIMPLICITY_ORDER = ("uds", "grpc", "grpc_stream", "shm_pool", "shm")
"""From simple to complicated: inside the indistinguishable band the earlier method is taken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name, Arrow type, default when a frame lacks it, and meaning."""

    name: str
    type: str
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether a frame handed to `perfkit.fit` must have it."""
        return self.default is dataclasses.MISSING


_REQUIRED = dataclasses.MISSING


def _stage(name: str, what: str) -> Column:
    return Column(name, "int64", None, f"stage of a service's transfer: {what}; null where it was not measured")


_ASSIGNMENT_COLUMNS = (
    Column("experiment", "string", "", "experiment that the session took part in; empty without one"),
    Column("variant", "string", "", "variant of the experiment that the session was assigned to; empty without one"),
)
_PROPENSITY = Column("propensity", "float64", 1.0, "probability with which this method was taken")
_PLAN_VERSION = Column(
    "plan_version", "int64", 0, "version of the thresholds that the plan was compiled from; 0 for the defaults"
)

PRODUCER_COLUMNS: tuple[Column, ...] = (
    Column("producer", "string", "", "journal slot that the row came through; empty for rows of before"),
    Column("epoch", "int64", 0, "which holder of the slot wrote it: grows with every process that takes the slot"),
    Column("producer_sequence", "int64", 0, "number of the row within its epoch, from 1; a gap is a lost row"),
)
"""What makes a row unique: written by the drain, never by those who record."""

TRANSFER_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "", "run that measured it; empty for a service"),
    Column("source", "string", "bench", "bench, background, replay or service"),
    Column("observed_at", "timestamp[us, tz=UTC]", None, "when the transfer ended"),
    Column("scenario", "string", "", "scenario within the sweep"),
    Column("launch", "int32", 0, "fresh pair of processes, from 0"),
    Column("round", "int32", 0, "interleaved pass within the launch, from 0"),
    Column("sequence", "int32", 0, "send within the round, from 0"),
    Column("stage", "string", "transport", "transport, encode, encode_into, decode, whole or control"),
    Column("method", "string", _REQUIRED, "transfer method; empty for a codec stage"),
    Column("signalling", "string", "uds", "how a shared-memory block is announced: uds or grpc"),
    Column("placement", "string", "copied", "copied or in_place"),
    Column("touched", "bool", False, "the receiver read every byte"),
    Column("temperature", "string", "warm", "warm or cold"),
    Column("in_flight", "int32", 1, "sends under way at once"),
    Column("interval_ns", "int64", 0, "pause between two sends; 0 is back to back"),
    Column("pool", "string", "default", "pool of workers that the service named"),
    Column("kind", "string", "binary", "tensor, dataframe, binary or text"),
    Column("format", "string", "raw", "numpy, arrow, pickle, msgpack, json or raw"),
    Column("compression", "string", "none", "none, lz4 or zstd"),
    Column("entropy", "string", "incompressible", "entropy class of a test payload"),
    Column("payload_bytes", "int64", _REQUIRED, "size of the payload before encoding"),
    Column("wire_bytes", "int64", None, "size after encoding: what the transport carries"),
    Column("latency_ns", "int64", _REQUIRED, "sender's call to the acknowledgement of a readable payload"),
    _stage("encode_ns", "encoding"),
    _stage("wait_ns", "waiting for a connection and a block"),
    _stage("copy_ns", "writing into the block"),
    _stage("signal_ns", "on its way, everything that is not one of the other stages"),
    _stage("handler_ns", "the receiver's handler (not part of latency_ns)"),
    _stage("decode_ns", "decoding"),
    Column("cpu_sender_ns", "int64", None, "processor time of the sender, per send (mean of its batch)"),
    Column("cpu_receiver_ns", "int64", None, "processor time of the receiver, per send (mean of its batch)"),
    Column("copied_bytes", "int64", None, "bytes that user code copied, both sides"),
    Column("resident_bytes", "int64", None, "memory held for one transfer, both sides, shared pages once"),
    Column("peak_memory_bytes", "int64", None, "growth of peak resident memory during the batch, both sides"),
    Column("ok", "bool", True, "whether the transfer succeeded"),
    Column("error", "string", None, "exception name of a failed transfer"),
    Column("fallback", "string", "", "methods that could not carry it, with the reason, such as 'shm_pool: no room'"),
    Column("direction", "string", "request", "request, or reply: what the handler answered"),
    Column("decision_id", "string", "", "decision that the transfer follows; empty for a measurement"),
    Column("session", "string", "", "session that the service named"),
    *_ASSIGNMENT_COLUMNS,
    _PROPENSITY,
    _PLAN_VERSION,
    Column("available_bytes", "int64", None, "memory that the sender's host had left; null where nobody looked"),
    *PRODUCER_COLUMNS,
)

DECISION_COLUMNS: tuple[Column, ...] = (
    Column("decision_id", "string", _REQUIRED, "unique name of the decision"),
    Column("decided_at", "timestamp[us, tz=UTC]", None, "when it was taken"),
    Column("pool", "string", "default", "pool of workers that the service named"),
    Column("session", "string", "", "session that the service named"),
    Column("kind", "string", "binary", "tensor, dataframe, binary or text"),
    Column("format", "string", "raw", "numpy, arrow, pickle, msgpack, json or raw"),
    Column("compression", "string", "none", "none, lz4 or zstd"),
    Column("signalling", "string", "uds", "how a shared-memory block is announced: uds or grpc"),
    Column("in_flight", "int32", 1, "sends under way at once"),
    Column("payload_bytes", "int64", _REQUIRED, "size of the payload before encoding"),
    Column("method", "string", _REQUIRED, "transfer method that was taken"),
    Column("goal", "string", "", "what the pool minimises"),
    Column("reason", "string", "", "what settled it: published curves, a default, a rule, an override, exploration"),
    _PLAN_VERSION,
    *_ASSIGNMENT_COLUMNS,
    _PROPENSITY,
    *PRODUCER_COLUMNS,
)

EVENT_COLUMNS: tuple[Column, ...] = (
    Column("occurred_at", "timestamp[us, tz=UTC]", None, "when it happened"),
    Column("name", "string", _REQUIRED, "what happened, such as published, rows lost, run deleted"),
    Column("severity", "string", "info", "info, warning or error"),
    Column("subject", "string", "", "what it happened to: a run, a file, a journal slot"),
    Column("message", "string", "", "one sentence for people"),
    Column("details", "string", "{}", "the figures, as JSON text"),
    *PRODUCER_COLUMNS,
)

_ROLLED_UP_BY = (
    "source",
    "stage",
    "method",
    "signalling",
    "placement",
    "in_flight",
    "pool",
    "kind",
    "format",
    "compression",
    "direction",
)
ROLLUP_COLUMNS: tuple[Column, ...] = (
    Column("minute", "timestamp[us, tz=UTC]", None, "begin of the minute that the transfers ended in"),
    *(column for column in TRANSFER_COLUMNS if column.name in _ROLLED_UP_BY),
    Column("size_class", "int32", _REQUIRED, "payloads of 2^size_class bytes up to the next power of two"),
    Column("transfers", "int64", _REQUIRED, "transfers that succeeded"),
    Column("failures", "int64", 0, "transfers that failed; they have no latency"),
    Column("payload_bytes", "int64", 0, "bytes moved by those that succeeded"),
    Column("latency_sum_ns", "int64", 0, "sum of the latencies"),
    Column("latency_min_ns", "int64", None, "smallest latency"),
    Column("latency_max_ns", "int64", None, "largest latency"),
    Column("bucket", "list<int32>", _REQUIRED, "numbers of the histogram's buckets that are not empty, ascending"),
    Column("bucket_transfers", "list<int64>", _REQUIRED, "transfers in each of these buckets"),
)
"""Transfers of a minute that agree in everything else: a mergeable histogram of 1 % relative error, made of rows."""

TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "transfers": TRANSFER_COLUMNS,
        "decisions": DECISION_COLUMNS,
        "events": EVENT_COLUMNS,
        "rollups": ROLLUP_COLUMNS,
    }
)
JOURNALLED_TABLES = ("transfers", "decisions", "events")
"""Tables whose rows come through journals; rollups are made of transfers."""


def arrow_schema(table: str = "transfers") -> pyarrow.Schema:
    """The Arrow schema of one of `TABLES`.

    >>> arrow_schema().field("latency_ns").type
    DataType(int64)
    >>> arrow_schema("events").names[:2]
    ['occurred_at', 'name']
    """
    import pyarrow as pa

    types: Mapping[str, pa.DataType] = {
        "string": pa.string(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
        "list<int32>": pa.list_(pa.int32()),
        "list<int64>": pa.list_(pa.int64()),
    }
    return pa.schema(
        [pa.field(c.name, types[c.type], nullable=c.default is None) for c in TABLES[table]],
        metadata={"perfkit.schema_version": str(SCHEMA_VERSION)},
    )
