"""What changed from one version of the schema to the next: pure functions from the rows of then to the rows of now.

A step is written once and never changed: it must not look anything up in today's `perfkit.schema`. A change of columns
adds its steps here, raises `SCHEMA_VERSION`, and gets a test with a lake as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import pyarrow

__all__ = ["STEPS", "Step"]

Step: TypeAlias = "Callable[[pyarrow.Table], pyarrow.Table]"


def _transfers_1_to_2(rows: pyarrow.Table) -> pyarrow.Table:
    """Who produced a row: nobody is known for rows of before the journal."""
    import pyarrow as pa

    count = rows.num_rows
    rows = rows.append_column("producer", pa.repeat(pa.scalar("", pa.string()), count))
    rows = rows.append_column("epoch", pa.repeat(pa.scalar(0, pa.int64()), count))
    return rows.append_column("producer_sequence", pa.repeat(pa.scalar(0, pa.int64()), count))


def _transfers_2_to_3(rows: pyarrow.Table) -> pyarrow.Table:
    """How long each stage of a service's transfer took: nobody measured it before."""
    import pyarrow as pa

    for name in ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns"):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.int64()))
    rows = rows.append_column("fallback", pa.repeat(pa.scalar("", pa.string()), rows.num_rows))
    return _every_row_a_request(rows)


def _every_row_a_request(rows: pyarrow.Table) -> pyarrow.Table:
    """Before, nobody recorded what a handler answered."""
    import pyarrow as pa

    return rows.append_column("direction", pa.repeat(pa.scalar("request", pa.string()), rows.num_rows))


def _transfers_3_to_4(rows: pyarrow.Table) -> pyarrow.Table:
    """Before, nobody explored; from which thresholds a decision came, only its id tells (``v7:…``)."""
    import pyarrow as pa

    rows = _without_experiment(rows).append_column("variant", pa.repeat(pa.scalar("", pa.string()), rows.num_rows))
    rows = rows.append_column("propensity", pa.repeat(pa.scalar(1.0, pa.float64()), rows.num_rows))
    return rows.append_column("plan_version", pa.repeat(pa.scalar(0, pa.int64()), rows.num_rows))


def _without_experiment(rows: pyarrow.Table) -> pyarrow.Table:
    """Before, there were no experiments."""
    import pyarrow as pa

    return rows.append_column("experiment", pa.repeat(pa.scalar("", pa.string()), rows.num_rows))


def _transfers_4_to_5(rows: pyarrow.Table) -> pyarrow.Table:
    """Before, nobody looked at the memory that was available."""
    import pyarrow as pa

    return rows.append_column("available_bytes", pa.nulls(rows.num_rows, pa.int64()))


STEPS: Mapping[tuple[str, int], Step] = MappingProxyType(
    {
        ("transfers", 1): _transfers_1_to_2,
        ("transfers", 2): _transfers_2_to_3,
        ("rollups", 2): _every_row_a_request,
        ("transfers", 3): _transfers_3_to_4,
        ("decisions", 3): _without_experiment,
        ("transfers", 4): _transfers_4_to_5,
    }
)
"""By table and the version that a step starts from. A table without a step has the same columns in both versions."""
