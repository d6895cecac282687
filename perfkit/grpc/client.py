"""The client's interceptor: takes large fields out of requests, and puts those of answers back."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import grpc

from perfkit.engine import Decision, Engine
from perfkit.grpc.calls import PendingCall, StreamCall
from perfkit.grpc.choosing import Chooser, Packed, Packer
from perfkit.grpc.fields import put_back
from perfkit.grpc.knowledge import ServerKnowledge
from perfkit.grpc.own import OwnMemory
from perfkit.grpc.peer import PeerMemory
from perfkit.grpc.recording import Recorder, Row
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
from perfkit.journal import Journal
from perfkit.transfer.arena import Arena

__all__ = ["Attempt", "ClientInterceptor"]

_DETAILS = ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
_SAYS_NOTHING = (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class _Details(namedtuple("_Details", _DETAILS), grpc.ClientCallDetails):  # type: ignore[misc]
    pass


@dataclasses.dataclass(slots=True)
class Attempt:
    """One try of a call.

    Args:
        details: what the caller gave beside the request.
        request: what the caller gave.
        started_ns: when this try began.
        deadline_s: when the caller's patience ends, by the monotonic clock.
        timeout_s: what is left of it for a second try; None: what the caller gave.
        in_flight: calls under way when it began, itself included; 0 for a stream, which is not recorded.
        payload_bytes: what the request's `bytes` fields hold, as far as they were looked at.
        decision: what it follows; None where nothing had to be decided.
        offer: what is said with it.
        packed_offer: the same, packed.
        server: the memory of the server that the offer is for; None: of no server in particular.
        packed: the request without its large fields, and their block; None: the request goes as it is.
        lease: the answer of an earlier try that is asked for; 0: none.
        fallback: why it goes inline although it is large enough.
    """

    details: Any
    request: Any
    started_ns: int
    deadline_s: float | None
    timeout_s: float | None = None
    in_flight: int = 0
    payload_bytes: int = 0
    decision: Decision | None = None
    offer: Offer | None = None
    packed_offer: bytes = b""
    server: PeerMemory | None = None
    packed: Packed | None = None
    lease: int = 0
    fallback: str = ""


class ClientInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    """See `perfkit.grpc.client_interceptor`, which makes one."""

    def __init__(
        self,
        *,
        engine: Engine | None,
        pool: str,
        threshold_bytes: int,
        limit_bytes: int,
        retry_s: float,
        arena: Arena | None,
        journal: Journal | None,
    ) -> None:
        self._tally = Tally()
        self._own = OwnMemory(limit_bytes, arena)
        self._chooser = Chooser(engine, pool, threshold_bytes)
        self._packer = Packer(self._chooser, self._own, self._tally)
        self._recorder = None if journal is None else Recorder(journal, pool, engine)
        self._retry_s = retry_s
        self._server = self._know_nothing()
        self._lock = threading.Lock()
        self._under_way = self._held = 0

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """See `grpc.UnaryUnaryClientInterceptor`."""
        in_flight = 0
        if self._recorder is not None:
            with self._lock:
                self._under_way += 1
                in_flight = self._under_way
        attempt: Attempt | None = self._begin(client_call_details, request, in_flight)
        send = functools.partial(self._send, continuation)
        while attempt is not None:
            sent, call = attempt, send(attempt)
            if not call.done():  # a future: what follows happens when it ends
                return PendingCall(call, sent, self._conclude, send)
            attempt = self._conclude(sent, call)
        return call

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """See `grpc.UnaryStreamClientInterceptor`. The request may be pooled; the stream of answers stays inline."""
        attempt = self._begin(client_call_details, request, 0)
        if attempt.offer is not None:
            attempt.offer = dataclasses.replace(attempt.offer, can_read=False)
            attempt.packed_offer = attempt.offer.pack()
        send = functools.partial(self._send, continuation)
        return StreamCall(send(attempt), attempt, self._conclude, send)

    def statistics(self) -> InterceptorStatistics:
        """What was done so far."""
        quarantined = self._server.quarantined_blocks
        return self._tally.total(
            "client",
            held_blocks=self._held + quarantined,
            quarantined_blocks=quarantined,
            peers=int(self._server.server is not None),
            mapped_regions=self._server.mapped_regions,
        )

    def close(self) -> None:
        """Give the memory back, after the channel has been closed. Calls that come later go inline."""
        self._server.close()
        self._own.close()

    def _know_nothing(self) -> ServerKnowledge:
        return ServerKnowledge(self._own, self._retry_s, wants_time=self._recorder is not None)

    def _begin(self, details: Any, request: Any, in_flight: int) -> Attempt:
        """The first try: pooled if the server is known to take it and something is large enough."""
        now_ns = time.monotonic_ns()
        timeout_s = getattr(details, "timeout", None)
        deadline_s = None if timeout_s is None else now_ns / 1e9 + timeout_s
        attempt = Attempt(details, request, now_ns, deadline_s, in_flight=in_flight)
        self._tally.count_call()
        try:
            self._prepare(attempt)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with us, the call goes out as it is
            self._tally.fall_back(f"error: {type(error).__name__}")
        return attempt

    def _prepare(self, attempt: Attempt) -> None:
        if self._own.restarted():
            self._server, self._held = self._know_nothing(), 0
        attempt.offer, attempt.server, attempt.packed_offer = self._server.offer()
        if attempt.server is None and self._recorder is None:
            return
        choice = self._packer.choose()
        search = self._packer.search(attempt.request, choice)
        if search is None:
            return
        attempt.payload_bytes, attempt.decision = search.seen_bytes, choice.decision
        if attempt.server is not None:
            metadata_bytes = sum(
                len(key) + len(value) + 32 for key, value in getattr(attempt.details, "metadata", None) or ()
            )
            attempt.packed = self._packer.move(search, metadata_bytes)
            attempt.fallback = search.kept
        elif search.found:
            attempt.fallback = "server not known to take it"

    def _send(self, continuation: Callable[..., Any], attempt: Attempt) -> Any:
        details, request, prefix, ours = attempt.details, attempt.request, "", []
        if attempt.packed_offer:
            ours.append((OFFER_KEY, attempt.packed_offer))
        if attempt.packed is not None:
            prefix, request = POOL_PREFIX, attempt.packed.message
            ours.append((PARCEL_KEY, attempt.packed.parcel.pack()))
            self._count_held(1)
            self._tally.add(sent_fields=len(attempt.packed.parcel.places), sent_bytes=attempt.packed.fields_bytes)
        elif attempt.lease:
            prefix = AGAIN_PREFIX
            ours.append((LEASE_KEY, attempt.lease.to_bytes(8, "little")))
        if ours or attempt.timeout_s is not None:
            details = _changed(details, prefix, ours, attempt.timeout_s)
        try:
            return continuation(details, request)
        except BaseException as error:
            self._let_go(attempt, is_unread=False)
            self._end(attempt, type(error).__name__, None)
            raise

    def _conclude(self, attempt: Attempt, call: Any, *, may_repeat: bool = True) -> Attempt | None:
        """Take in how a try has ended; returns the next one, if the call is not over with it."""
        code = call.code()
        packed_answer = find(call.trailing_metadata(), ANSWER_KEY)
        answer = Answer.unpack(packed_answer) if packed_answer else None
        is_refused = attempt.packed is not None and (
            code is grpc.StatusCode.UNIMPLEMENTED if answer is None else answer.refused
        )
        self._let_go(attempt, is_unread=answer is not None or is_refused or code is grpc.StatusCode.OK)
        try:
            self._learn(attempt, code, answer, is_refused)
        except Exception as error:  # noqa: BLE001 - the call has ended as it has, whatever we make of it
            self._tally.fall_back(f"error: {type(error).__name__}")
        if attempt.packed is not None and not is_refused and (answer is not None or code is grpc.StatusCode.OK):
            self._tally.add(pooled_calls=1)
        following = None
        if is_refused:
            following = self._repeat_inline(attempt, answer) if may_repeat else None
        elif code is grpc.StatusCode.OK and not attempt.lease:
            following = self._put_answer_back(attempt, call, answer)
        if following is None:
            self._end(attempt, None if code is grpc.StatusCode.OK else code.name, answer)
        return following

    def _learn(self, attempt: Attempt, code: grpc.StatusCode, answer: Answer | None, is_refused: bool) -> None:
        if attempt.offer is None:
            return
        if answer is not None:
            self._server.learn(answer)
        elif attempt.offer.returned:
            self._server.give_back(attempt.offer.server_token, attempt.offer.returned)  # it may never have heard
        if code is grpc.StatusCode.OK and answer is None and attempt.server is None:
            self._server.rest()  # it does not know us
        elif code is grpc.StatusCode.UNAVAILABLE and answer is None:
            self._server.forget()
        elif is_refused or (attempt.packed is not None and answer is None and code not in _SAYS_NOTHING):
            self._server.fail()

    def _let_go(self, attempt: Attempt, *, is_unread: bool) -> None:
        """Give the request's block back, or keep it from being used again while the server may still read it."""
        packed, server = attempt.packed, attempt.server
        if packed is None or server is None:
            return
        self._count_held(-1)
        if is_unread:
            self._own.release(packed.block)
        else:
            self._server.quarantine(packed.parcel.number, packed.block, server.peer)

    def _repeat_inline(self, attempt: Attempt, answer: Answer | None) -> Attempt:
        if answer is None:
            reason = "server without perfkit"
        elif attempt.offer is not None and answer.server.token != attempt.offer.server_token:
            reason = "server started anew"
        else:
            reason = "server refused the memory"
            if attempt.decision is not None:
                self._chooser.tell_failure(attempt.decision, attempt.payload_bytes, reason)
        self._tally.fall_back(reason)
        offer, server, packed_offer = self._server.offer()
        following = self._again(attempt, offer=offer, server=server, packed_offer=packed_offer)
        following.fallback = reason
        return following

    def _put_answer_back(self, attempt: Attempt, call: Any, answer: Answer | None) -> Attempt | None:
        """Copy the large fields of an answer out of the server's memory; returns how to ask for them otherwise."""
        offer, server = attempt.offer, attempt.server
        if offer is None or server is None or not offer.can_read:
            return None
        number = answer.lease if answer is not None else 0
        announced = find(call.initial_metadata(), PARCEL_KEY)
        if announced is None and not number:
            return None
        try:
            parcel = Parcel.unpack(announced or b"")
            number = parcel.number
            bodies, response = server.copy_out(parcel), call.result()
            for place, body in zip(parcel.places, bodies, strict=True):
                put_back(response, place.path, body)
        except Exception:  # noqa: BLE001 - without its fields the answer must not reach the caller
            self._tally.fall_back("answer could not be read")
            self._server.cannot_read(offer.server_token)
            offer = dataclasses.replace(offer, can_read=False)
            return self._again(attempt, offer=offer, server=server, packed_offer=offer.pack(), lease=number)
        self._tally.add(received_fields=len(bodies), received_bytes=sum(map(len, bodies)))
        self._server.give_back(offer.server_token, (number,))
        return None

    def _again(self, attempt: Attempt, **changes: Any) -> Attempt:
        """The next try, inline, in what is left of the caller's time."""
        self._tally.add(repeated_calls=1)
        now_ns = time.monotonic_ns()
        left_s = None if attempt.deadline_s is None else max(attempt.deadline_s - now_ns / 1e9, 0.0)
        return dataclasses.replace(attempt, started_ns=now_ns, timeout_s=left_s, packed=None, **changes)

    def _end(self, attempt: Attempt, error: str | None, answer: Answer | None) -> None:
        if attempt.in_flight:
            with self._lock:
                self._under_way -= 1
        try:
            self._record(attempt, error, answer)
        except Exception as mistake:  # noqa: BLE001 - a row is not worth a call
            self._tally.fall_back(f"error: {type(mistake).__name__}")

    def _record(self, attempt: Attempt, error: str | None, answer: Answer | None) -> None:
        decision, is_pooled = attempt.decision, attempt.packed is not None
        handler_ns = None if answer is None or not answer.handler_ns else answer.handler_ns
        latency_ns = max(time.monotonic_ns() - attempt.started_ns - (handler_ns or 0), 0)
        if error is None and decision is not None and decision.method == ("shm_pool" if is_pooled else "grpc"):
            is_timed = handler_ns is not None and attempt.in_flight
            self._chooser.tell_success(decision, attempt.payload_bytes, latency_ns if is_timed else 0)
        if self._recorder is None or not attempt.in_flight:
            return
        row = Row(
            is_pooled, attempt.payload_bytes, latency_ns, handler_ns, attempt.in_flight, error, attempt.fallback,
            decision,
        )  # fmt: skip
        self._recorder.record(row)

    def _count_held(self, blocks: int) -> None:
        with self._lock:
            self._held += blocks


def _changed(details: Any, prefix: str, ours: list[tuple[str, bytes]], timeout_s: float | None) -> Any:
    """The details of a call with what we change; other interceptors may bring details of their own making."""
    if not prefix and timeout_s is None and hasattr(details, "_replace"):
        return details._replace(metadata=(*(details.metadata or ()), *ours))
    values = {name: getattr(details, name, None) for name in _DETAILS}
    values["method"] = prefix + details.method
    values["metadata"] = (*(values["metadata"] or ()), *ours)
    if timeout_s is not None:
        values["timeout"] = timeout_s
    return _Details(**values)
