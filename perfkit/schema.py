"""The observation: one row of measured fact, defined once.

Everything that stores, ships or reads observations derives its columns from `TRANSFER_COLUMNS`: the record, the Arrow
schema, the lake's table. `SCHEMA_VERSION` grows with every change of them.

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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "COMPRESSIONS",
    "ENTROPIES",
    "FORMATS",
    "IN_FLIGHT_LEVELS",
    "KINDS",
    "SCHEMA_VERSION",
    "SERIALIZATION_FAMILY",
    "SIGNALLINGS",
    "SIMPLICITY_ORDER",
    "STAGES",
    "TRANSFER_COLUMNS",
    "ZERO_COPY_FAMILY",
    "Column",
    "arrow_schema",
]

SCHEMA_VERSION = 1

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
    """One column of the observation: its name, Arrow type, default when a frame lacks it, and meaning."""

    name: str
    type: str
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether a frame handed to `perfkit.fit` must have it."""
        return self.default is dataclasses.MISSING


_REQUIRED = dataclasses.MISSING

TRANSFER_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "", "run that measured it; empty for a service"),
    Column("source", "string", "bench", "bench, background or service"),
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
    Column("cpu_sender_ns", "int64", None, "processor time of the sender, per send (mean of its batch)"),
    Column("cpu_receiver_ns", "int64", None, "processor time of the receiver, per send (mean of its batch)"),
    Column("copied_bytes", "int64", None, "bytes that user code copied, both sides"),
    Column("resident_bytes", "int64", None, "memory held for one transfer, both sides, shared pages once"),
    Column("peak_memory_bytes", "int64", None, "growth of peak resident memory during the batch, both sides"),
    Column("ok", "bool", True, "whether the transfer succeeded"),
    Column("error", "string", None, "exception name of a failed transfer"),
)


def arrow_schema() -> pyarrow.Schema:
    """The Arrow schema of a table of transfers.

    >>> arrow_schema().field("latency_ns").type
    DataType(int64)
    """
    import pyarrow as pa

    types: Mapping[str, pa.DataType] = {
        "string": pa.string(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(
        [pa.field(c.name, types[c.type], nullable=c.default is None) for c in TRANSFER_COLUMNS],
        metadata={"perfkit.schema_version": str(SCHEMA_VERSION)},
    )
