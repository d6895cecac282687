"""Any frame as an Arrow table: statistics are asked for wherever people keep their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from perfkit.errors import InputError

__all__ = ["to_arrow"]


def to_arrow(frame: Any) -> pa.Table:
    """A frame of any kind as an Arrow table.

    Args:
        frame: a dictionary of equally long arrays, an Arrow table, a pandas or polars frame, an Ibis table, a list of
            records, or anything with such a frame as `observations`.

    Raises:
        InputError: it is no frame.

    >>> to_arrow({"session": [1, 2], "latency_ns": [10.0, 12.0]}).column_names
    ['session', 'latency_ns']
    """
    while hasattr(frame, "observations"):
        frame = frame.observations
    if isinstance(frame, pa.Table):
        return frame
    try:
        if isinstance(frame, Mapping):
            return pa.table({str(name): pa.array(np.asarray(values)) for name, values in frame.items()})
        if isinstance(frame, list):
            return pa.Table.from_pylist(frame)
        if hasattr(frame, "to_pyarrow"):
            return frame.to_pyarrow()
        return pa.table(frame)
    except (pa.ArrowException, AttributeError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"a {type(frame).__name__} cannot be read as a frame ({error}); give a dictionary of equally long arrays, "
            "an Arrow table, a pandas or polars frame or an Ibis table"
        ) from error
