"""The serving end: accepts connections, hands payloads to the handler, sends its answers back."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from perfkit.channel.address import check_peer, listen_at, parse_address, remove_socket, socket_identity
from perfkit.channel.answering import Answerer
from perfkit.channel.borrowing import BODIES, Budget
from perfkit.channel.choosing import default_engine
from perfkit.channel.core import Core
from perfkit.channel.greeting import Greeting, available_methods, has_grpc
from perfkit.channel.lane import Lane
from perfkit.channel.limits import Limits, check_limits
from perfkit.channel.peers import Peer, Peers
from perfkit.channel.requests import Handler
from perfkit.channel.session import Session
from perfkit.channel.statistics import ServerStatistics
from perfkit.engine import Engine
from perfkit.errors import InputError, PeerLostError, PerfkitError, TransferError
from perfkit.transfer.arena import Arena
from perfkit.transfer.sockets import stop_listening
from perfkit.units import parse_bytes

if TYPE_CHECKING:
    from perfkit.channel.grpc_front import GrpcFront

__all__ = ["Server", "serve"]

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE_S = 0.05
_MAX_PEERS = 512
_LENT_SHARE = 0.5
_RESTS_S = 0.02
_BODIES_AT_A_TIME_BYTES = 32 * 2**20
_STALLED_S = 30.0
"""A client that stops in the middle of a frame, or does not take its answer, for so long, is given up."""


class _Taken:
    """What one connection has taken of the server's budget for bodies: given back when its request was answered."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._taken_bytes = budget, 0

    def allocate(self, length: int) -> memoryview:
        """Memory for a body, once there is room; see `BodyMemory.allocate`."""
        self._budget.take(length)
        self._taken_bytes += length
        return BODIES.allocate(length)

    def give_back(self) -> None:
        """What was read so far was handled, or dropped."""
        if self._taken_bytes:
            taken_bytes, self._taken_bytes = self._taken_bytes, 0
            self._budget.give_back(taken_bytes)


class Server:
    """A server that runs; made by `serve`. A context manager that closes it."""

    def __init__(
        self,
        handler: Handler,
        path: Path,
        engine: Engine,
        methods: tuple[str, ...],
        *,
        arena_bytes: int,
        max_message_bytes: int,
        max_in_flight: int,
        allow_pickle: bool,
        allow_users: frozenset[int],
    ) -> None:
        self.address = f"unix:{path}"
        self._path, self._engine, self._methods = path, engine, methods
        self._allow_pickle, self._allow_users = allow_pickle, allow_users
        self._limits = Limits(max_message_bytes, in_flight=max_in_flight)
        self._max_lanes = max_in_flight
        self.arena = Arena(arena_bytes, background=True)
        self._budget = Budget(_BODIES_AT_A_TIME_BYTES)
        self._peers = Peers(
            self.arena, round(arena_bytes * _LENT_SHARE), self._make_peer, max_peers=_MAX_PEERS, max_lanes=max_in_flight
        )
        self._answerer = Answerer(handler, max_in_flight)
        self._refusals: Counter[str] = Counter()
        self._last_refusal = ""
        self._lanes: set[Lane] = set()
        self._lanes_lock = threading.Lock()
        self._is_closing = False
        self._is_closed = threading.Event()
        self._pid = os.getpid()
        if has_grpc(methods):
            from perfkit.channel.grpc_front import GrpcFront  # takes a while: whoever connects meanwhile would wait
        self._listener = listen_at(path)
        self._identity = socket_identity(path)
        self._grpc: GrpcFront | None = None
        try:
            if has_grpc(methods):
                self._grpc = GrpcFront(path, self._peers, self._answerer, max_in_flight, max_message_bytes)
        except BaseException:
            self.close()
            raise
        engine.watch_arena(self._arena_in_use)
        threading.Thread(target=self._accept, name="perfkit-accept", daemon=True).start()
        _SERVERS.add(self)

    # --- for the service ---------------------------------------------------------------------------------------------

    def statistics(self) -> ServerStatistics:
        """Counts since the start."""
        peers = list(self._peers.open.values())
        answered = self._answerer
        return ServerStatistics(
            requests=answered.requests,
            failures=dict(answered.failures),
            methods=dict(answered.methods),
            reply_methods=dict(answered.reply_methods),
            fallbacks=dict(answered.fallbacks),
            refused=self._refusals.total(),
            last_refusal=self._last_refusal,
            peers=len(peers),
            lanes=len(self._lanes),
            mapped_bytes=sum(peer.session.regions.mapped_bytes for peer in peers),
            lent_bytes=sum(peer.session.lent.lent_bytes for peer in peers),
            late_views=answered.late_views,
            arena=self.arena.stats(),
        )

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the server is closed; False when the time was up first."""
        return self._is_closed.wait(timeout_s)

    def close(self, grace_s: float = 5.0) -> None:
        """Take no more requests, let those under way be answered, close. May be called twice, and by another thread.

        Args:
            grace_s: how long handlers may take; a connection whose handler needs longer is cut.
        """
        if self._is_closing:
            self._is_closed.wait(grace_s)
            return
        self._is_closing = True
        if os.getpid() == self._pid:
            remove_socket(self._path, self._identity)
        stop_listening(self._listener)
        deadline_s = time.monotonic() + grace_s
        if self._grpc is not None:
            self._grpc.close(grace_s)
        self._dismiss_idle()
        while self._lanes and time.monotonic() < deadline_s:
            time.sleep(_RESTS_S)
            self._dismiss_idle()
        for lane in self._snapshot():
            lane.shut_down()
        self._answerer.close()
        self.arena.close()
        self._is_closed.set()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({self.address!r}, methods={self._methods})"

    # --- connections -------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in _PASSING and not self._is_closing:
                    time.sleep(_PAUSE_S)
                    continue
                return  # closing
            try:
                threading.Thread(target=self._serve, args=(connection,), name="perfkit-lane", daemon=True).start()
            except RuntimeError as error:  # no more threads: this client is told by the end of its connection
                self._refused("threads", f"no thread for a connection: {error}")
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        taken = _Taken(self._budget)
        lane = Lane(connection, Core(is_server=True, limits=self._limits, allocate=taken.allocate))
        with self._lanes_lock:
            self._lanes.add(lane)
        peer = None
        try:
            pid = check_peer(connection, self._allow_users)
            lane.set_timeout(_STALLED_S)
            peer = self._greet(lane, pid)
            if peer is not None:
                self._answerer.serve_lane(lane, peer, taken.give_back)
        except PermissionError as error:
            self._refuse(lane, "user", str(error))
        except PeerLostError:
            pass  # nobody is left to tell
        except TransferError as error:
            self._refuse(lane, type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, it ends this connection and no other
            self._refuse(lane, type(error).__name__, f"{type(error).__name__}: {error}")
        finally:
            lane.close()
            taken.give_back()
            with self._lanes_lock:
                self._lanes.discard(lane)
            if peer is not None:
                self._peers.leave(peer, lane)

    def _greet(self, lane: Lane, pid: int) -> Peer | None:
        said = lane.read_greeting(time.monotonic() + _STALLED_S)
        if said is None:
            return None
        greeting, _ = said  # nothing may follow a HELLO before it is answered
        peer, is_new = self._peers.join(greeting, lane, pid)
        answer = Greeting(
            methods=self._methods,
            pickle=self._allow_pickle,
            message_bytes=self._limits.message_bytes,
            token=peer.token,
            grpc=self._grpc.path if self._grpc is not None else "",
            lanes=self._max_lanes,
        )
        try:
            lane.write_welcome(answer, is_first=is_new)
        except BaseException:
            self._peers.leave(peer, lane)
            raise
        return peer

    def _make_peer(self, greeting: Greeting, session: Session) -> Peer:
        return Peer(greeting, session, self._engine, self._methods, allow_pickle=self._allow_pickle)

    def _arena_in_use(self) -> tuple[int, int]:
        return (0, 0) if self._is_closing else self.arena.in_use()

    def _abandon_in_child(self) -> None:
        """In a forked child: were these left open, clients would not see it when the server dies."""
        self._listener.close()
        for lane in self._lanes:
            lane.connection.close()
        self._lanes = set()
        self._is_closing = True
        self._is_closed.set()

    def _refuse(self, lane: Lane, what: str, text: str) -> None:
        self._refused(what, text)
        try:
            lane.write(lane.core.error(0, "protocol", what, text))
        except (PerfkitError, OSError):
            return  # nobody is left to tell

    def _refused(self, what: str, text: str) -> None:
        self._refusals[what] += 1
        self._last_refusal = text

    def _snapshot(self) -> list[Lane]:
        with self._lanes_lock:
            return list(self._lanes)

    def _dismiss_idle(self) -> None:
        """Say goodbye on connections that wait for a request: their threads see the end of it and close."""
        for lane in self._snapshot():
            lane.say_goodbye("the server is closing")


def serve(
    handler: Handler,
    address: str,
    *,
    engine: Engine | None = None,
    methods: Sequence[str] | None = None,
    arena_bytes: int | str = "1GiB",
    max_message_bytes: int | str = "4GiB",
    max_in_flight: int = 256,
    allow_pickle: bool = False,
    allow_users: Sequence[int] = (),
) -> Server:
    """Serve payloads at an address; returns at once, threads do the work.

    The handler is called as ``handler(payload)``, or as ``handler(payload, request)`` if it takes two arguments, in
    several threads at a time. A payload that travelled in shared memory is a read-only view of it: it stays valid as
    long as it is held, and the sender's block with it; copy what you want to keep for long. What the handler returns is
    the answer; None is an empty one. What it raises is told to the sender as `HandlerError`, and to nobody else.

    Args:
        handler: the service's own.
        address: ``unix:`` and a path. A socket that a dead server left there is replaced.
        engine: chooses the methods of the answers; without one, the defaults.
        methods: offer only these; by default all that this machine has.
        arena_bytes: shared memory for answers, at most; one client may view half of it.
        max_message_bytes: the largest payload that is taken as bytes.
        max_in_flight: connections of one client, and requests under way at once.
        allow_pickle: decode pickled payloads, which run their code here, from clients that ask for it, too.
        allow_users: numbers of further users that may connect; the process's own always may.

    Raises:
        InputError: the address cannot be used, or an argument is out of range.
        UnknownNameError: there is no such method.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, serve(len, f"unix:{folder}/worker.sock") as server:
    ...     server.statistics().requests
    0
    """
    if not callable(handler):
        raise InputError(f"handler == {handler!r} cannot be called; give a function that takes a payload")
    check_limits(parse_bytes(max_message_bytes), max_in_flight)
    return Server(
        handler,
        parse_address(address),
        engine or default_engine(),
        available_methods(methods),
        arena_bytes=parse_bytes(arena_bytes),
        max_message_bytes=parse_bytes(max_message_bytes),
        max_in_flight=max_in_flight,
        allow_pickle=allow_pickle,
        allow_users=frozenset((os.geteuid(), *allow_users)),
    )


_SERVERS: weakref.WeakSet[Server] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for server in list(_SERVERS):
        server._abandon_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
