"""The server's interceptor: puts large fields back before the handler runs, and takes them out of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc

from perfkit.engine import Engine
from perfkit.errors import TransferError
from perfkit.grpc.choosing import Chooser, Packer
from perfkit.grpc.fields import put_back
from perfkit.grpc.own import OwnMemory
from perfkit.grpc.sessions import Session, Sessions
from perfkit.grpc.statistics import InterceptorStatistics, Tally
from perfkit.grpc.wire import (
    AGAIN_PREFIX,
    ANSWER_KEY,
    LEASE_KEY,
    OFFER_KEY,
    PARCEL_KEY,
    POOL_PREFIX,
    Answer,
    Offer,
    Parcel,
    find,
)
from perfkit.transfer.arena import Arena

__all__ = ["ServerInterceptor"]

_Handler = Any  # grpc.RpcMethodHandler, of which the stubs know no fields
_Context = Any  # grpc.ServicerContext; the stubs lack what it tells about its own status


class _Details(grpc.HandlerCallDetails):
    """The details of a call under its original method."""

    def __init__(self, method: str, metadata: Any) -> None:
        self.method, self.invocation_metadata = method, metadata


class ServerInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """See `perfkit.grpc.server_interceptor`, which makes one."""

    def __init__(
        self,
        *,
        engine: Engine | None,
        pool: str,
        threshold_bytes: int,
        limit_bytes: int,
        client_limit_bytes: int,
        lease_s: float,
        arena: Arena | None,
    ) -> None:
        self._tally = Tally()
        self._own = OwnMemory(limit_bytes, arena)
        self._packer = Packer(Chooser(engine, pool, threshold_bytes), self._own, self._tally)
        self._sessions = Sessions(self._own)
        self._client_limit_bytes, self._lease_s = client_limit_bytes, lease_s

    def intercept_service(
        self, continuation: Callable[[Any], _Handler | None], handler_call_details: Any
    ) -> _Handler | None:
        """See `grpc.ServerInterceptor`."""
        metadata = handler_call_details.invocation_metadata
        method: str = handler_call_details.method
        packed_offer = find(metadata, OFFER_KEY)
        offer = Offer.unpack(packed_offer) if packed_offer else None
        if offer is None:
            return continuation(handler_call_details)  # a stranger to perfkit, who pays nothing for it
        if method.startswith("/perfkit."):
            for prefix in (POOL_PREFIX, AGAIN_PREFIX):
                if method.startswith(f"{prefix}/"):
                    handler = continuation(_Details(method.removeprefix(prefix), metadata))
                    return self._wrap(handler, offer, metadata, prefix)
        return self._wrap(continuation(handler_call_details), offer, metadata, "")

    def statistics(self) -> InterceptorStatistics:
        """What was done so far."""
        return self._tally.total("server", **self._sessions.current())

    def close(self) -> None:
        """Give the memory back. Calls that come later are served inline."""
        self._sessions.close()
        self._own.close()

    def _wrap(self, handler: _Handler | None, offer: Offer, metadata: Any, prefix: str) -> _Handler | None:
        """The same handler with our part around it; None where it has no business under this prefix."""
        if handler is None or handler.request_streaming:
            return None if prefix else handler
        if self._own.restarted():
            self._sessions = Sessions(self._own)
        visit = _Visit(self, offer, metadata)
        kinds = (handler.request_deserializer, handler.response_serializer)
        if prefix == AGAIN_PREFIX:
            return None if handler.response_streaming else grpc.unary_unary_rpc_method_handler(visit.again, *kinds)
        arrive = visit.arrive_pooled if prefix else visit.arrive
        if handler.response_streaming:
            stream = visit.around_stream(handler.unary_stream, arrive)
            return grpc.unary_stream_rpc_method_handler(stream, *kinds)
        return grpc.unary_unary_rpc_method_handler(visit.around(handler.unary_unary, arrive), *kinds)


class _Visit:
    """One call of a client that has an interceptor, too."""

    def __init__(self, owner: ServerInterceptor, offer: Offer, metadata: Any) -> None:
        self._owner, self._offer, self._metadata = owner, offer, metadata
        self._knows_us = offer.server_token == owner._own.identity.token
        self._settled: tuple[int, ...] = ()
        self._handler_ns = 0
        self._reserved_bytes = 0

    def around(self, behavior: Callable[..., Any], arrive: Callable[..., None]) -> Callable[..., Any]:
        """A handler that answers with one message."""

        def handle(request: Any, context: _Context) -> Any:
            arrive(request, context)
            started_ns = time.perf_counter_ns()
            try:
                response = behavior(request, context)
            except BaseException:
                self._answer(context)
                raise
            if self._offer.wants_time:
                self._handler_ns = time.perf_counter_ns() - started_ns
            is_ok = _is_ok(context)
            message, lease = self._take_out(response, context) if is_ok else (response, 0)
            if lease or not is_ok or self._has_news():
                self._answer(context, lease=lease)
            return message

        return handle

    def around_stream(self, behavior: Callable[..., Iterator[Any]], arrive: Callable[..., None]) -> Callable[..., Any]:
        """A handler that answers with a stream, which stays inline."""

        def handle(request: Any, context: _Context) -> Iterator[Any]:
            arrive(request, context)
            try:
                yield from behavior(request, context)
            finally:
                self._answer(context)

        return handle

    def arrive(self, request: Any, context: _Context) -> None:
        """A request that came inline."""
        self._owner._tally.count_call()
        self._listen()

    def arrive_pooled(self, request: Any, context: _Context) -> None:
        """A request without its large fields: put them back, or refuse it before its handler runs."""
        owner, session = self._owner, self._session()
        owner._tally.count_call()
        self._listen()
        if not self._knows_us:
            self._refuse(context, "this server was started after the client last heard of it")
        if session is None:
            self._refuse(context, "the client's memory cannot be opened")
        try:
            parcel = Parcel.unpack(find(self._metadata, PARCEL_KEY) or b"")
            bodies = session.copy_out(parcel)
            for place, body in zip(parcel.places, bodies, strict=True):
                put_back(request, place.path, body)
        except (TransferError, OSError, AttributeError, TypeError, MemoryError) as error:
            self._refuse(context, str(error))
        received_bytes = sum(map(len, bodies))
        owner._tally.add(pooled_calls=1, received_fields=len(bodies), received_bytes=received_bytes)

    def again(self, request: Any, context: _Context) -> Any:
        """The whole answer of an earlier call, for a client that could not read our memory."""
        session, packed = self._session(), find(self._metadata, LEASE_KEY) or b""
        self._answer(context)
        response = session.repeat(int.from_bytes(packed, "little")) if session is not None else None
        if response is None:
            context.abort(grpc.StatusCode.DATA_LOSS, "perfkit: the answer is not kept any more; its call has succeeded")
        self._owner._tally.add(repeated_calls=1)
        return response

    def _session(self) -> Session | None:
        return self._owner._sessions.find(self._offer.client)

    def _has_news(self) -> bool:
        """Whether the client waits for a word of ours, even if all is well."""
        offer = self._offer
        return not self._knows_us or offer.wants_time or bool(offer.unsettled or offer.returned)

    def _listen(self) -> None:
        """Take in what the client is done with, and say which of its blocks are not read any more."""
        offer = self._offer
        if self._knows_us and (offer.unsettled or offer.returned):
            session = self._session()
            if session is not None:
                session.take_back(offer.returned)
                self._settled = session.settle(offer.unsettled)

    def _answer(self, context: _Context, *, refused: bool = False, lease: int = 0) -> None:
        """Add our word to the trailing metadata, after what the handler has set."""
        server, accepts = self._owner._own.identity, self._session() is not None
        answer = Answer(server, accepts, refused, self._handler_ns, lease, self._settled)
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), (ANSWER_KEY, answer.pack())))

    def _refuse(self, context: _Context, why: str) -> NoReturn:
        self._owner._tally.fall_back("request refused")
        self._answer(context, refused=True)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"perfkit: {why}; the call is repeated inline")
        raise AssertionError("abort always raises")

    def _take_out(self, response: Any, context: _Context) -> tuple[Any, int]:
        """The answer without its large fields and its lease, if this client can read them from our memory."""
        if not self._knows_us or not self._offer.can_read:
            return response, 0
        try:
            return self._moved(response, context)
        finally:  # what is held counts by itself from now on
            if self._reserved_bytes:
                self._owner._sessions.give_up(self._offer.client, self._reserved_bytes)

    def _moved(self, response: Any, context: _Context) -> tuple[Any, int]:
        owner = self._owner
        session = self._session()
        try:
            packed = None if session is None else owner._packer.pack(response, 0, self._may_hold)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with us, the answer goes out as it is
            owner._tally.fall_back(f"error: {type(error).__name__}")
            return response, 0
        if session is None or packed is None:
            return response, 0
        try:
            context.send_initial_metadata(((PARCEL_KEY, packed.parcel.pack()),))
        except Exception:  # noqa: BLE001 - a ValueError in grpcio, not promised: the handler has sent its own
            owner._tally.fall_back("initial metadata was sent already")
            owner._own.release(packed.block)
            return response, 0
        owner._tally.add(sent_fields=len(packed.parcel.places), sent_bytes=packed.fields_bytes)
        session.keep(packed, owner._lease_s)
        return packed.message, packed.parcel.number

    def _may_hold(self, more_bytes: int) -> bool:
        owner = self._owner
        may = owner._sessions.reserve(self._offer.client, more_bytes, owner._client_limit_bytes)
        self._reserved_bytes = more_bytes if may else 0
        return may


def _is_ok(context: _Context) -> bool:
    """Whether the handler has left the status alone: an answer beside an error never reaches the caller."""
    return context.code() in (None, 0, grpc.StatusCode.OK)
