"""For pools with a protocol of small messages: one way for all of them, whatever was measured last."""

from __future__ import annotations

from collections.abc import Mapping

import perfkit
from perfkit.engine.policies import MethodFigures, PolicyContext

TINY_BYTES = 4 * 2**10


@perfkit.policy("tiny over a socket", breakpoints=[TINY_BYTES])
def tiny_over_a_socket(context: PolicyContext, figures: Mapping[str, MethodFigures]) -> str | None:
    """Pin what is tiny to the socket: it costs a few microseconds by any method, and one is simpler to debug."""
    return "uds" if context.payload_bytes < TINY_BYTES and "uds" in context.available else None
