"""How far what is asked lies from what a model was trained on, and how much less sure it is there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.engine.composing import Context, compose
from perfkit.learn.models.features import TransferRows
from perfkit.schema import ZERO_COPY_FAMILY

__all__ = ["Familiarity", "SeenContext", "familiarity"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_CONTEXT = ("method", "kind", "format", "compression", "signalling", "placement")
_UNSEEN_SD = math.log(2)
"""Of the logarithm of the cost in a context that was never seen: a codec may well cost what its transport does."""
_SIZE_SD = 0.10
"""Of that of each doubling beyond the sizes that were seen, as of cost curves; and like theirs, no further than so."""
_MOST_DOUBLINGS = 6.0
_LOAD_SD = math.log(2) / 2
"""Of that of each doubling beyond the loads that were seen: it may change nothing, or double the latency."""


@dataclasses.dataclass(frozen=True, slots=True)
class SeenContext:
    """A context that occurred in training, and its sizes.

    Attributes:
        method, kind, format, compression, signalling, placement, source: as in `rows_of`.
        n: transfers.
        min_bytes, max_bytes: smallest and largest payload.
        max_in_flight: highest load.
    """

    method: str
    kind: str
    format: str
    compression: str
    signalling: str
    placement: str
    source: str
    n: int
    min_bytes: float
    max_bytes: float
    max_in_flight: float


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """Whether a model was trained on the like of each row.

    Attributes:
        doubt: standard deviation that is to be added to the logarithm of the cost; 0 where all is familiar.
        is_unseen: the method was never seen in this context, and no curve of its codec is known.
        is_beyond_sizes: smaller or larger than every transfer of the method in the context.
        is_beyond_loads: more sends under way at once than with any of them.
        unseen: the contexts that were never seen, as names to be read.
    """

    doubt: Floats
    is_unseen: Flags
    is_beyond_sizes: Flags
    is_beyond_loads: Flags
    unseen: tuple[str, ...]


def familiarity(rows: TransferRows, seen: Sequence[SeenContext], curves: CurveSet) -> Familiarity:
    """Compare what is asked with what was seen.

    A context is known where transfers in it were seen, or where its codec and its transport were measured apart, so
    that curves compose it.

    Args:
        rows: what is asked.
        seen: contexts in training.
        curves: that the model starts from.
    """
    sizes, load = rows.numbers["payload_bytes"], rows.numbers["in_flight"]
    position, keys = rows.combined(_CONTEXT)
    low, high, heaviest = np.ones(len(keys)), np.full(len(keys), 2.0**62), np.full(len(keys), 2.0**62)
    is_unseen, names = np.zeros(len(keys), bool), []
    for at, key in enumerate(keys):
        of_method = [one for one in seen if one.method == key[0]]
        alike = [one for one in of_method if _is_alike(one, key)]
        if not alike and not _is_composed(curves, key):
            is_unseen[at] = True
            names.append(_name(key))
        known = alike or of_method
        if known:
            low[at], high[at] = min(one.min_bytes for one in known), max(one.max_bytes for one in known)
            heaviest[at] = max(one.max_in_flight for one in known)
    above = np.maximum(sizes, 1) / np.maximum(high[position], 1)
    below = np.maximum(low[position], 1) / np.maximum(sizes, 1)
    doublings = np.clip(np.log2(np.maximum(above, below)), 0.0, _MOST_DOUBLINGS)
    of_load = np.maximum(np.log2(load / heaviest[position]), 0.0)
    variance = (_UNSEEN_SD * is_unseen[position]) ** 2 + (_SIZE_SD * doublings) ** 2 + (_LOAD_SD * of_load) ** 2
    return Familiarity(np.sqrt(variance), is_unseen[position], doublings > 0, of_load > 0, tuple(names))


def _is_alike(one: SeenContext, key: tuple[str, ...]) -> bool:
    """Only shared memory is announced in one way or another, and may be born in place."""
    if (one.kind, one.format, one.compression) != key[1:4]:
        return False
    return key[0] not in ZERO_COPY_FAMILY or (one.signalling, one.placement) == key[4:]


def _is_composed(curves: CurveSet, key: tuple[str, ...]) -> bool:
    method, kind, format_name, compression, signalling, placement = key
    context = Context(
        kind=kind, format=format_name, compression=compression, signalling=signalling, in_place=placement == "in_place"
    )
    found = compose(curves, method, context)
    return found is not None and found.exact


def _name(key: tuple[str, ...]) -> str:
    method, kind, format_name, compression, signalling, placement = key
    shared = f" announced over {signalling}, {placement.replace('_', ' ')}" if method in ZERO_COPY_FAMILY else ""
    return f"{method} with {kind}/{format_name}/{compression}{shared}"
