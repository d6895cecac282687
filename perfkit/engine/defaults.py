"""What to do where nothing is published: the specification's fixed thresholds.

Below 10 MiB a payload goes over gRPC, from there through shared memory. The specification's two other lines (below
1 MiB always gRPC, above 1 GiB always shared memory) say nothing more as long as nothing moves the 10 MiB, and
measurement does not need them: it replaces all three.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from perfkit.schema import SIMPLICITY_ORDER, ZERO_COPY_FAMILY
from perfkit.units import format_bytes

__all__ = ["ZERO_COPY_BYTES", "DefaultRange", "default_ranges"]

ZERO_COPY_BYTES = 10 * 2**20
_SERIALIZATION_PREFERENCE = ("grpc", "grpc_stream", "uds")


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultRange:
    """Sizes from `start_bytes` to below `end_bytes` for which a method is taken without evidence, and why."""

    start_bytes: float
    end_bytes: float
    method: str
    rule: str


def default_ranges(
    available: Sequence[str] = SIMPLICITY_ORDER, zero_copy_bytes: int = ZERO_COPY_BYTES
) -> tuple[DefaultRange, ...]:
    """The ranges that hold where nothing is published.

    Args:
        available: the methods that may be taken; at least one. Without a method of a family, the other family serves.
        zero_copy_bytes: size from which the zero-copy family is taken.

    >>> [(part.end_bytes, part.method) for part in default_ranges(("grpc", "shm_pool"))]
    [(10485760, 'grpc'), (inf, 'shm_pool')]
    """
    zero_copy = _first(ZERO_COPY_FAMILY, available)
    serialization = _first(_SERIALIZATION_PREFERENCE, available)
    fallback = zero_copy or serialization or available[0]
    small, large = serialization or fallback, zero_copy or fallback
    edge = format_bytes(zero_copy_bytes)
    return (
        DefaultRange(0, zero_copy_bytes, small, f"default: below {edge}, the serialization family"),
        DefaultRange(zero_copy_bytes, math.inf, large, f"default: from {edge}, the zero-copy family"),
    )


def _first(preference: Sequence[str], available: Sequence[str]) -> str | None:
    return next((method for method in preference if method in available), None)
