"""One series of measurements in the order of time, wherever it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Index", "Series"]

Floats = npt.NDArray[np.float64]
Index = int | float | str
"""What names a point: a build, a run, a time."""


@dataclasses.dataclass(frozen=True)
class Series:
    """Measurements of one thing, in the order in which they are judged.

    Args:
        name: what people call it.
        values: measurements, above 0.
        index: what names the point of each value; neighbours with the same name are repeated measurements of one point.
        rows: row of each value in its source, counted from 1.
        attributes: what tells it from other series, such as its method and size class.
        warnings: what was left out or put in order.
        times: when each value was measured, seconds since 1970; None where nobody knows.
        stages_ns: stages of each value's transfers by name, nanoseconds, NaN where they were not measured.
    """

    name: str
    values: Floats
    index: Sequence[Index]
    rows: npt.NDArray[np.int64]
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    times: Floats | None = None
    stages_ns: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
