"""A server's side of one conversation: the session, and all connections that belong to it."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from perfkit.channel.choosing import Chooser
from perfkit.channel.events import Message
from perfkit.channel.greeting import Greeting
from perfkit.channel.lane import Lane
from perfkit.channel.loading import LANE_METHODS
from perfkit.channel.requests import Outcome
from perfkit.channel.session import Session
from perfkit.channel.sweeper import ensure_sweeper, sweep_soon
from perfkit.engine import Engine
from perfkit.errors import ProtocolError
from perfkit.transfer.arena import Arena

__all__ = ["Parked", "Peer", "Peers"]

_MAX_PARKED = 64
_FOR_EVER_S = math.inf
Parked = tuple[Outcome, Message]


class Peer:
    """One client process: what it is, may and views.

    Args:
        greeting: its HELLO.
        session: its memory here, and ours there.
        engine: chooses the methods of answers.
        methods: that this server has.
        allow_pickle: whether this server asked for pickle.
    """

    def __init__(
        self, greeting: Greeting, session: Session, engine: Engine, methods: tuple[str, ...], *, allow_pickle: bool
    ) -> None:
        self.token = secrets.token_hex(16)
        self.pool = greeting.pool
        self.message_bytes = greeting.message_bytes
        self.session = session
        self.allow_pickle = allow_pickle and greeting.pickle
        shared = tuple(name for name in methods if name in greeting.methods)
        self.lane_chooser = self._chooser(engine, tuple(name for name in shared if name in LANE_METHODS) or ("uds",))
        # An answer to a gRPC call goes back the same way, or is parked and fetched over a lane.
        self.all_chooser = self._chooser(engine, shared or ("uds",))
        self.is_swept = False
        self.lanes: set[Lane] = set()
        self._parked: dict[int, tuple[Parked, float]] = {}
        self._lock = threading.Lock()

    def _chooser(self, engine: Engine, methods: tuple[str, ...]) -> Chooser:
        return Chooser(engine, self.pool, methods, allow_pickle=self.allow_pickle)

    def watch(self) -> None:
        """A view outlives its request: have the client told when it is gone."""
        ensure_sweeper()
        self.session.when_told(self._sweep_soon)

    def sweep(self) -> bool:
        """See `perfkit.channel.sweeper.Swept`: the news go over any lane that nobody writes to now."""
        if self.session.is_over:
            return self.session.end()
        if self.session.has_news:
            with self._lock:
                lanes = list(self.lanes)
            for lane in lanes:
                if lane.write_news():
                    break
        return not self.session.has_news

    def park(self, request_id: int, outcome: Outcome, message: Message) -> None:
        """Keep an answer that cannot travel the way of its request until the client fetches it, or waits no more.

        Raises:
            ProtocolError: it leaves too many lying about.
        """
        now_s = time.monotonic()
        wanted_until_s = now_s + message.time_ns / 1e9 if message.time_ns else _FOR_EVER_S
        with self._lock:
            self._parked = {known: parked for known, parked in self._parked.items() if parked[1] > now_s}
            if len(self._parked) >= _MAX_PARKED:
                raise ProtocolError(f"{_MAX_PARKED} answers wait to be fetched; the client is broken")
            self._parked[request_id] = ((outcome, message), wanted_until_s)

    def fetch(self, request_id: int) -> Parked:
        """The answer that was parked.

        Raises:
            ProtocolError: there is none.
        """
        with self._lock:
            parked = self._parked.pop(request_id, None)
        if parked is None:
            raise ProtocolError(f"no answer to request {request_id} waits to be fetched")
        return parked[0]

    def _sweep_soon(self) -> None:
        sweep_soon(self)


class Peers:
    """All conversations of a server.

    Args:
        arena: for answers.
        lent_limit_bytes: how much of it one client may view.
        make: makes the peer of a new conversation.
        max_peers: more are refused.
    """

    def __init__(
        self,
        arena: Arena,
        lent_limit_bytes: int,
        make: Callable[[Greeting, Session], Peer],
        max_peers: int,
        max_lanes: int,
    ) -> None:
        self._arena, self._lent_limit_bytes, self._make = arena, lent_limit_bytes, make
        self._max_peers, self._max_lanes = max_peers, max_lanes
        self._peers: dict[str, Peer] = {}
        self._lock = threading.Lock()

    @property
    def open(self) -> Mapping[str, Peer]:
        """The conversations, by token."""
        with self._lock:
            return MappingProxyType(dict(self._peers))

    def join(self, greeting: Greeting, lane: Lane, pid: int) -> tuple[Peer, bool]:
        """The conversation that a connection belongs to, and whether it is a new one: an unknown token begins one.

        Raises:
            ProtocolError: too many conversations, or too many connections of one.
        """
        with self._lock:
            peer = self._peers.get(greeting.token)
            is_new = peer is None
            if peer is None:
                if len(self._peers) >= self._max_peers:
                    raise ProtocolError(f"{self._max_peers} clients are connected, no more are served")
                session = Session(self._arena, self._lent_limit_bytes, pid)
                peer = self._make(greeting, session)
                self._peers[peer.token] = peer
            elif len(peer.lanes) >= self._max_lanes:
                raise ProtocolError(f"{self._max_lanes} connections of one client are open, no more are served")
            peer.lanes.add(lane)
            lane.session = peer.session
            return peer, is_new

    def leave(self, peer: Peer, lane: Lane) -> None:
        """A connection is gone; with the last one the conversation ends."""
        with self._lock:
            peer.lanes.discard(lane)
            if peer.lanes or self._peers.pop(peer.token, None) is None:
                return
        if not peer.session.end():
            ensure_sweeper()
            sweep_soon(peer)
