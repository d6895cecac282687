"""The catalogue: features of every item, held in memory, and which items are candidates for a user.

The service and the load script make the same catalogue, so that a request names its features in a few bytes and every
prediction can be checked. A real service would fill `make_features` from its feature store.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ITEMS = 2**17
FEATURES = 64
ROW_BYTES = 4 * FEATURES
MAX_ROWS = 2**16
"""Features of so many items are 16 MiB."""


def make_features() -> NDArray[np.float32]:
    """Features of all items, a row each: 32 MiB."""
    return np.random.default_rng(17).standard_normal((ITEMS, FEATURES), dtype=np.float32)


def candidates_of(user: int, rows: int) -> NDArray[np.int64]:
    """The items to rank for a user: all over the catalogue, none of them twice.

    Args:
        user: number of the user, 0 or more.
        rows: how many, at most `MAX_ROWS`.
    """
    step = 40_503 + 2 * (user % 4_096)  # odd: it meets every item of a power of two before it meets one again
    return (user + step * np.arange(rows)) % ITEMS
