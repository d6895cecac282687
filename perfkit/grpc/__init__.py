"""Interceptors for services that keep their gRPC API: large `bytes` fields travel through shared memory.

    channel = grpc.intercept_channel(grpc.insecure_channel("unix:/run/worker.sock"), perfkit.grpc.client_interceptor())
    server = grpc.server(executor, interceptors=[perfkit.grpc.server_interceptor()])

Both ends are asked before anything is pooled, and whatever stands in the way sends a call inline: an old server,
another host, another container, no room. See docs/how-to/keep-your-grpc-api.md.
"""

from __future__ import annotations

from perfkit.engine import Engine
from perfkit.errors import InputError
from perfkit.grpc.client import ClientInterceptor
from perfkit.grpc.server import ServerInterceptor
from perfkit.grpc.statistics import InterceptorStatistics
from perfkit.journal import Journal
from perfkit.transfer.arena import Arena

__all__ = [
    "DEFAULT_THRESHOLD_BYTES",
    "ClientInterceptor",
    "InterceptorStatistics",
    "ServerInterceptor",
    "client_interceptor",
    "server_interceptor",
]

DEFAULT_THRESHOLD_BYTES = 256 * 2**10
"""From here on the pool is quicker than the same intercepted call inline; see docs/how-to/keep-your-grpc-api.md."""


def client_interceptor(
    *,
    engine: Engine | None = None,
    pool: str = "default",
    threshold_bytes: int = DEFAULT_THRESHOLD_BYTES,
    limit_bytes: int = 2**28,
    retry_s: float = 30.0,
    arena: Arena | None = None,
    journal: Journal | None = None,
) -> ClientInterceptor:
    """An interceptor for one channel: the last one that is given to `grpc.intercept_channel`, next to the wire.

    Args:
        engine: decides by its plan which sizes go through shared memory; without one `threshold_bytes` does.
        pool: pool of the engine, and of the rows in the journal.
        threshold_bytes: size of a field from which on it goes through shared memory, 1 or more.
        limit_bytes: shared memory that requests may take; beyond it they go inline.
        retry_s: how long a server that does not know perfkit is left alone before it is asked again, 0 or more.
        arena: shared memory that several channels use together, in place of `limit_bytes`; it is not closed.
        journal: takes one row per call.

    Raises:
        InputError: an argument is outside its range.

    >>> interceptor = client_interceptor(threshold_bytes=2**20)
    >>> interceptor.statistics().calls
    0
    >>> interceptor.close()
    """
    if limit_bytes < 0 or not retry_s >= 0:
        raise InputError(f"limit_bytes == {limit_bytes} and retry_s == {retry_s}, must be 0 or more")
    return ClientInterceptor(
        engine=engine,
        pool=pool,
        threshold_bytes=threshold_bytes,
        limit_bytes=limit_bytes,
        retry_s=retry_s,
        arena=arena,
        journal=journal,
    )


def server_interceptor(
    *,
    engine: Engine | None = None,
    pool: str = "default",
    threshold_bytes: int = DEFAULT_THRESHOLD_BYTES,
    limit_bytes: int = 2**28,
    client_limit_bytes: int = 2**27,
    lease_s: float = 60.0,
    arena: Arena | None = None,
) -> ServerInterceptor:
    """An interceptor for one server: the first in its list, so that the others see messages as they are.

    Args:
        engine: decides by its plan which sizes of answers go through shared memory; without one `threshold_bytes` does.
        pool: pool of the engine.
        threshold_bytes: size of a field from which on it goes through shared memory, 1 or more.
        limit_bytes: shared memory that answers may take; beyond it they go inline.
        client_limit_bytes: how much of it one client process may hold; beyond it its answers go inline.
        lease_s: how long an answer is kept for a client that does not say that it has read it, above 0.
        arena: shared memory that others use, too, in place of `limit_bytes`; it is not closed.

    Raises:
        InputError: an argument is outside its range.

    >>> server_interceptor().statistics().side
    'server'
    """
    if min(limit_bytes, client_limit_bytes) < 0:
        raise InputError(f"limit_bytes == {limit_bytes}, client_limit_bytes == {client_limit_bytes}, must be 0 or more")
    if not lease_s > 0:
        raise InputError(f"lease_s == {lease_s}, must be above 0")
    return ServerInterceptor(
        engine=engine,
        pool=pool,
        threshold_bytes=threshold_bytes,
        limit_bytes=limit_bytes,
        client_limit_bytes=client_limit_bytes,
        lease_s=lease_s,
        arena=arena,
    )
