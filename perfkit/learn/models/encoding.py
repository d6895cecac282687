"""Transfers as the matrix that a booster reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.features import TEXTS, TransferRows

__all__ = ["FEATURES", "MONOTONE", "Encoding", "encoding_of"]

Floats = npt.NDArray[np.float64]

FEATURES = ("log2_payload_bytes", *TEXTS, "log2_in_flight", "log2_available_bytes", "hour", "recent")
MONOTONE = tuple(1 if name == "log2_payload_bytes" else 0 for name in FEATURES)
"""A larger payload never costs less; nothing is said about the other features."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Which number stands for which name. A name that the model never met counts as unknown.

    Attributes:
        names: by text column, the names met in training; a name's position is its number.
    """

    names: Mapping[str, tuple[str, ...]]

    def matrix(self, rows: TransferRows) -> Floats:
        """One row per transfer, one column per feature; NaN where unknown."""
        columns = [np.log2(np.maximum(rows.numbers["payload_bytes"], 1.0))]
        for text in TEXTS:
            known = {name: at for at, name in enumerate(self.names[text])}
            numbers = np.array([known.get(name, np.nan) for name in rows.names[text]], float)
            columns.append(numbers[rows.codes[text]])
        columns += [np.log2(rows.numbers["in_flight"]), np.log2(rows.numbers["available_bytes"])]
        columns += [rows.numbers["hour"], rows.numbers["recent"]]
        return np.stack(columns, axis=1)


def encoding_of(rows: TransferRows) -> Encoding:
    """The encoding of the names that occur in rows."""
    return Encoding({
        text: tuple(rows.names[text][at] for at in np.unique(rows.codes[text]).tolist()) for text in TEXTS
    })  # fmt: skip
