"""The sending end: what a service calls."""

from __future__ import annotations

import os
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perfkit.channel import born
from perfkit.channel.address import parse_address
from perfkit.channel.choosing import Chooser, default_engine
from perfkit.channel.connecting import Conversation, Lanes
from perfkit.channel.exchange import Exchange
from perfkit.channel.greeting import Greeting, available_methods, host_differences
from perfkit.channel.limits import Limits, check_limits
from perfkit.channel.recording import Recorder, open_recorder
from perfkit.channel.session import Session
from perfkit.channel.statistics import ChannelStatistics, Health
from perfkit.engine import Engine
from perfkit.errors import InputError
from perfkit.journal import Journal
from perfkit.transfer.arena import Arena
from perfkit.transfer.copying import PLAIN
from perfkit.units import parse_bytes

if TYPE_CHECKING:
    import pyarrow

    from perfkit.channel.born import BlockArray, BlockTable

__all__ = ["Channel", "connect"]

_LENT_SHARE = 1.0
_PREPARED_BYTES = 2**20
_LONGEST_S = 366 * 86_400


class Channel:
    """A channel to a server; made by `connect`. Safe to use from several threads. A context manager that closes it."""

    def __init__(
        self,
        path: Path,
        engine: Engine,
        pool: str,
        methods: tuple[str, ...],
        recorder: Recorder | None,
        *,
        timeout_s: float,
        connect_timeout_s: float,
        arena_bytes: int,
        max_message_bytes: int,
        max_in_flight: int,
        allow_pickle: bool,
        allow_users: frozenset[int],
    ) -> None:
        self.address = f"unix:{path}"
        self.pool, self.timeout_s = pool, timeout_s
        self.recorder, self.engine = recorder, engine
        self.copy_plan = PLAIN
        self.max_message_bytes, self.allow_pickle = max_message_bytes, allow_pickle
        self.requests = self.retries = self.late_views = 0
        self.methods: Counter[str] = Counter()
        self.reply_methods: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self._methods, self._arena_bytes = methods, arena_bytes
        self._notes: dict[str, None] = {}
        self._is_closed = False
        self.arena = Arena(arena_bytes, background=True)
        self.lanes = Lanes(
            path,
            self._greet,
            self._start_session,
            allow_users,
            max_in_flight,
            Limits(max_message_bytes),
            connect_timeout_s,
        )
        engine.watch_arena(self._arena_in_use)
        _CHANNELS.add(self)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(
        self,
        payload: Any,
        *,
        kind: str | None = None,
        format: str | None = None,  # noqa: A002 - the vocabulary's word
        compression: str = "none",
        timeout_s: float | None = None,
        session: str = "",
    ) -> Any:
        """Send a payload and wait for the answer.

        The engine picks the method, and another one carries the payload where that one cannot. A request that was
        surely not handled, because the server went before it had all of it, is sent again to its successor.

        Args:
            payload: a NumPy array, an Arrow table, a pandas or polars frame, bytes, str, dict, list, None, or what
                `empty` and `table` made.
            kind: tensor, dataframe, binary or text; by default what the payload is.
            format: numpy, arrow, pickle, msgpack, json or raw; by default the natural one.
            compression: none, lz4 or zstd.
            timeout_s: how long to wait for the answer; by default the channel's.
            session: name of the session, for handlers and observations.

        Returns:
            What the handler returned. Arrays and tables may be read-only views of shared memory: they stay valid as
            long as they are held.

        Raises:
            HandlerError: the handler raised.
            PeerLostError: the server died while it had the request; whether it was handled is unknown.
            TransferTimeoutError: no answer in time.
            MethodUnavailableError: no server answers at the address.
            CodecError: the payload, or what came back, cannot be encoded or decoded.
            NoRoomError, PayloadTooLargeError: no method can carry it.
            UnknownNameError: no such kind, format or compression.
            InputError: a timeout of 0, or of over a year.
        """
        timeout_s = self.timeout_s if timeout_s is None else _checked(timeout_s)
        exchange = Exchange(self, payload, kind, format, compression, session, timeout_s)
        exchange.is_waited_for = True
        try:
            exchange.start()
            return exchange.finish()
        except BaseException as error:
            exchange.let_go()
            self.count_failure(error)
            raise

    def begin(
        self,
        payload: Any,
        *,
        kind: str | None = None,
        format: str | None = None,  # noqa: A002 - the vocabulary's word
        compression: str = "none",
        timeout_s: float | None = None,
        session: str = "",
    ) -> Exchange:
        """Send a payload without waiting: several requests may be under way from one thread. Arguments as in `send`.

        Returns:
            The exchange: `Exchange.result` waits for the answer, `Exchange.cancel` takes the request back.

        Raises:
            as `send`, but for what only the answer can tell.
        """
        timeout_s = self.timeout_s if timeout_s is None else _checked(timeout_s)
        exchange = Exchange(self, payload, kind, format, compression, session, timeout_s)
        try:
            exchange.start()
        except BaseException as error:
            exchange.let_go()
            self.count_failure(error)
            raise
        return exchange

    def empty(self, shape: int | tuple[int, ...], dtype: Any = "float32", *, timeout_s: float = 1.0) -> BlockArray:
        """An array in shared memory, to be filled and sent without a copy; its values are undefined.

        The block is used again when the array, every view of it and every view that receivers hold are gone.

        Args:
            shape: as in `numpy.empty`.
            dtype: as in `numpy.empty`.
            timeout_s: how long to wait for a block.

        Raises:
            NoRoomError: the arena is exhausted.
            CodecError: items of this type cannot be shared.
        """
        return born.empty(self.arena, shape, dtype, timeout_s)

    def table(self, schema: pyarrow.Schema, rows: int, *, timeout_s: float = 1.0) -> BlockTable:
        """A table of zeros in shared memory, to be filled column by column and sent without a copy.

        Args:
            schema: of whole numbers and floats.
            rows: how many.
            timeout_s: how long to wait for a block.

        Raises:
            NoRoomError: the arena is exhausted.
            InputError: a column of another type.
        """
        return born.table(self.arena, schema, rows, timeout_s)

    # --- what there is to know ---------------------------------------------------------------------------------------

    def statistics(self) -> ChannelStatistics:
        """Counts since the channel was connected."""
        conversation = self.lanes.conversation
        return ChannelStatistics(
            requests=self.requests,
            failures=dict(self.failures),
            methods=dict(self.methods),
            reply_methods=dict(self.reply_methods),
            fallbacks=dict(self.fallbacks),
            retries=self.retries,
            reconnects=max(self.lanes.reconnects, 0),
            lanes=len(self.lanes),
            lent_bytes=conversation.session.lent.lent_bytes if conversation is not None else 0,
            late_views=self.late_views,
            arena=self.arena.stats(),
        )

    def health(self) -> Health:
        """Whether all is well, and what was absorbed.

        It looks: a server that died is noticed, and one that is back is greeted, which takes half a second at most.
        """
        self.lanes.look()
        conversation, notes = self.lanes.conversation, list(self._notes)
        dropped = 0
        if self.recorder is not None:
            journal = self.recorder.journal.statistics()
            dropped = journal.dropped + self.recorder.failures
            if dropped:
                notes.append(
                    f"{dropped:,} observations were not recorded: {journal.last_error or 'the buffer was full'}"
                )
        notes += [f"engine: {error}" for error in self.engine.health().errors]
        status = "closed" if self._is_closed else "degraded" if notes or conversation is None else "ok"
        pid = conversation.greeting.pid if conversation is not None else 0
        folder = str(self.recorder.journal.folder) if self.recorder is not None else ""
        return Health(status, self.address, pid, folder, dropped, tuple(notes))

    def close(self) -> None:
        """Close the connections, commit what was recorded, give the shared memory back. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        _CHANNELS.discard(self)
        self.lanes.close()
        if self.recorder is not None:
            self.recorder.close()
        self.arena.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Channel({self.address!r}, pool={self.pool!r}, methods={self._methods})"

    # --- for `Exchange` ----------------------------------------------------------------------------------------------

    def make_chooser(self, conversation: Conversation) -> Chooser:
        """For the methods that both sides have; kept by the conversation."""
        theirs = conversation.greeting.methods
        shared = tuple(name for name in self._methods if name in theirs and _can(name, conversation.greeting))
        allow_pickle = self.allow_pickle and conversation.greeting.pickle
        chooser = Chooser(self.engine, self.pool, shared or ("uds",), allow_pickle=allow_pickle)
        conversation.chooser = chooser
        return chooser

    def count_fallback(self, method: str, reason: str) -> None:
        """A method could not carry a request."""
        self.fallbacks[f"{method}: {reason}"] += 1

    def count_failure(self, error: BaseException) -> None:
        """A request ended in an exception."""
        self.failures[type(error).__name__] += 1

    # --- inside ------------------------------------------------------------------------------------------------------

    def _greet(self, token: str) -> Greeting:
        return Greeting(
            self._methods, self.allow_pickle, self.max_message_bytes, os.getpid(), pool=self.pool, token=token
        )

    def _start_session(self, pid: int) -> Session:
        return Session(self.arena, round(self._arena_bytes * _LENT_SHARE), pid)

    def _arena_in_use(self) -> tuple[int, int]:
        return self.arena.in_use()  # of the arena that it has now: a forked child gets another one

    def _abandon_in_child(self) -> None:
        self.lanes.abandon_in_child()
        self.arena = Arena(self._arena_bytes, background=True)


def connect(
    address: str,
    *,
    engine: Engine | None = None,
    pool: str = "default",
    methods: Sequence[str] | None = None,
    record: bool | Journal | str | Path = True,
    timeout_s: float = 30.0,
    connect_timeout_s: float = 5.0,
    arena_bytes: int | str = "1GiB",
    max_message_bytes: int | str = "4GiB",
    max_in_flight: int = 64,
    allow_pickle: bool = False,
    allow_users: Sequence[int] = (),
) -> Channel:
    """Connect to a server.

    Args:
        address: ``unix:`` and the path that it listens at.
        engine: decides which method carries each payload, for requests here and for nothing else; without one, the
            defaults.
        pool: pool of workers that the server belongs to.
        methods: take only these; by default all that both sides have.
        record: whether to record every transfer: True for the journal ``data/journal`` beside the engine's
            `perfkit.toml` (none where there is no such file), a journal or its folder, False for not at all.
        timeout_s: how long a request may take if it does not say otherwise, above 0.
        connect_timeout_s: how long to wait for a server that does not answer, now or when it went away later; 0 to
            try once. No longer than the request may take.
        arena_bytes: shared memory for requests, at most.
        max_message_bytes: the largest answer that is taken as bytes.
        max_in_flight: requests under way at once; more wait for their turn.
        allow_pickle: take pickled answers, which run their code here, and send pickles, if the server asked for it.
        allow_users: numbers of further users whose servers are talked to; the process's own always are.

    Raises:
        MethodUnavailableError: no server answers.
        InputError: an argument is out of range.
        UnknownNameError: no such method.

    >>> import tempfile, perfkit
    >>> with tempfile.TemporaryDirectory() as folder, perfkit.serve(len, f"unix:{folder}/worker.sock") as server:
    ...     with perfkit.connect(server.address, methods=["uds", "shm_pool"]) as channel:
    ...         channel.statistics().lanes
    1
    """
    _checked(timeout_s)
    if not 0 <= connect_timeout_s <= _LONGEST_S:
        raise InputError(f"connect_timeout_s == {connect_timeout_s}, must be from 0 to {_LONGEST_S} (a year)")
    check_limits(parse_bytes(max_message_bytes), max_in_flight)
    path, engine = parse_address(address), engine or default_engine()
    names = available_methods(methods)
    channel = Channel(
        path,
        engine,
        pool,
        names,
        open_recorder(record, engine),
        timeout_s=timeout_s,
        connect_timeout_s=connect_timeout_s,
        arena_bytes=parse_bytes(arena_bytes),
        max_message_bytes=parse_bytes(max_message_bytes),
        max_in_flight=max_in_flight,
        allow_pickle=allow_pickle,
        allow_users=frozenset((os.geteuid(), *allow_users)),
    )
    try:
        lane, conversation = channel.lanes.take(time.monotonic() + connect_timeout_s)
    except BaseException:
        channel.close()
        raise
    channel.lanes.give(lane, conversation)
    channel._notes |= dict.fromkeys(host_differences(conversation.greeting))
    if "shm_pool" in names:
        channel.arena.prepare(_PREPARED_BYTES)
    return channel


def _checked(timeout_s: float) -> float:
    if not 0 < timeout_s <= _LONGEST_S:
        raise InputError(f"timeout_s == {timeout_s}, must be above 0 and at most {_LONGEST_S} (a year)")
    return timeout_s


def _can(method: str, server: Greeting) -> bool:
    return bool(server.grpc) or not method.startswith("grpc")


_CHANNELS: weakref.WeakSet[Channel] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for channel in list(_CHANNELS):
        channel._abandon_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
