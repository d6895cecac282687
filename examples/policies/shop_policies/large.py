"""For pools whose gRPC server has other things to do than to carry images."""

from __future__ import annotations

from collections.abc import Mapping

import perfkit
from perfkit.engine.policies import MethodFigures, PolicyContext

LARGE_BYTES = 8 * 2**20
WORTH_IT = 2.0
"""Another method may cost this many times as much as gRPC, and is taken all the same."""


@perfkit.policy("large beside grpc", breakpoints=[LARGE_BYTES])
def large_beside_grpc(context: PolicyContext, figures: Mapping[str, MethodFigures]) -> str | None:
    """Move nothing large over gRPC, as long as another method is measured within a factor of it."""
    if context.payload_bytes < LARGE_BYTES:
        return None
    costs = {method: known.cost for method, known in figures.items() if known.cost is not None}
    over_grpc = [cost for method, cost in costs.items() if method.startswith("grpc")]
    others = {method: cost for method, cost in costs.items() if not method.startswith("grpc")}
    if not over_grpc or not others:
        return None  # nothing to compare: rules, thresholds and defaults know as much
    best = min(others, key=lambda method: others[method])
    return best if others[best] <= WORTH_IT * min(over_grpc) else None
