"""Curves for a model to start from, fitted to the transfers that it may see."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.errors import FitError
from perfkit.learn.fitting import fit
from perfkit.learn.models.boosting import sample_rows
from perfkit.learn.models.features import SERVICE, TransferRows
from perfkit.learn.result import Fit

__all__ = ["curves_from", "curves_of_others", "has_transports"]

_MOST_ROWS = 200_000
_CLASSES_PER_DOUBLING = 4


def curves_from(frame: Any, rows: TransferRows) -> CurveSet:
    """Curves of a frame: of what was measured; of the whole transfers where no transport was."""
    return fit(frame).curves if has_transports(rows) else fit_rows(rows)


def curves_of_others(everything: CurveSet, rows: TransferRows, held_out: npt.NDArray[np.bool_]) -> CurveSet:
    """Curves that have not seen the transfers held out; those of codecs, which are no transfers, stay as they are."""
    is_used = ~held_out & rows.is_transport if has_transports(rows) else ~held_out
    try:
        refitted = fit_rows(rows.take(is_used))
    except FitError:  # everything of the transports was held out
        return everything
    curves = {key: curve for key, curve in everything.curves.items() if key.stage != "transport"}
    return dataclasses.replace(everything, curves={**curves, **refitted.curves})


def has_transports(rows: TransferRows) -> bool:
    """Whether a transport was measured on its own."""
    return bool((rows.is_transport & ~rows.is_called("source", SERVICE)).any())


def fit_rows(rows: TransferRows) -> CurveSet:
    """Fit curves to transfers as if all were transports of raw bytes.

    Sizes of traffic differ from transfer to transfer: classes of them, a quarter of a doubling each, stand in. Its
    loads differ, too: a curve for each takes minutes and has few rows, so that load is left to the residual.
    """
    strata, _ = rows.combined(("method", "signalling", "placement"))
    rows = rows.take(sample_rows(strata, 0, _MOST_ROWS))
    sizes = rows.numbers["payload_bytes"]
    if np.unique(sizes).size > 500:
        classes = np.round(_CLASSES_PER_DOUBLING * np.log2(np.maximum(sizes, 1)))
        sizes = np.round(2 ** (classes / _CLASSES_PER_DOUBLING))
    columns: dict[str, Any] = {
        name: np.array(rows.names[name], object)[rows.codes[name]].astype(str)
        for name in ("method", "signalling", "placement")
    }
    columns |= {
        "payload_bytes": sizes,
        "in_flight": rows.numbers["in_flight"] if has_transports(rows) else np.ones(len(rows)),
        "launch": rows.group,
        "latency_ns": rows.targets["latency_ns"],
        "cpu_sender_ns": rows.targets["cpu_ns"],
        "cpu_receiver_ns": np.zeros(len(rows)),
        "resident_bytes": rows.targets["resident_bytes"],
        "round": _rounds(rows.group),
    }
    return fit(columns).curves


def _rounds(group: Any) -> npt.NDArray[np.int64]:
    """Nine rounds per launch in order of the rows: a bootstrap needs some."""
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    rank = np.arange(group.size) - np.repeat(np.cumsum(counts) - counts, counts)
    rounds = np.zeros(group.size, np.int64)
    rounds[order] = rank * 9 // np.maximum(np.repeat(counts, counts), 1)
    return rounds


def curves_in(curves: CurveSet | Fit) -> CurveSet:
    """The curves themselves."""
    return curves.curves if isinstance(curves, Fit) else curves
