"""What rollups are made by: how transfers are told apart, and what of them is added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfkit.schema import ROLLUP_COLUMNS

if TYPE_CHECKING:
    import ibis

__all__ = ["ROLLED_UP_BY", "dated", "day_of"]

_DAY_S = 86_400
_NAMES = tuple(column.name for column in ROLLUP_COLUMNS)
ROLLED_UP_BY = _NAMES[: _NAMES.index("transfers")]
"""What distinguishes a rollup from the others: the minute, and what the transfers agree in."""


def dated(transfers: ibis.Table) -> ibis.Table:
    """Transfers with what a rollup adds up; those without a time are in no minute."""
    timed = transfers.filter(transfers.observed_at.notnull())
    return timed.mutate(
        transfers=timed.ok.cast("int64"),
        failures=(~timed.ok).cast("int64"),
        payload_bytes=timed.ok.ifelse(timed.payload_bytes, 0),
        latency_sum_ns=timed.ok.ifelse(timed.latency_ns, 0),
        size_class=_size_class(timed.payload_bytes),
    )


def _size_class(payload_bytes: ibis.Value) -> ibis.Value:
    import ibis

    return ibis.greatest(payload_bytes, 1).log2().floor().cast("int32")


def day_of(moment: ibis.Value) -> ibis.Value:
    """The number of the day of a moment, from 1970-01-01."""
    return (moment.epoch_seconds() // _DAY_S).cast("int64")
