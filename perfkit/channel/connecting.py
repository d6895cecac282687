"""A client's connections: opened when needed, kept, given up when the server goes, begun anew when it is back."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.channel.address import check_peer, connect_once
from perfkit.channel.borrowing import BODIES
from perfkit.channel.choosing import Chooser
from perfkit.channel.core import Core
from perfkit.channel.events import Ended, Event, Failed, Leaving, Message
from perfkit.channel.frames import CALLS_FROM, RELEASED
from perfkit.channel.greeting import Greeting, introduce
from perfkit.channel.lane import Lane
from perfkit.channel.limits import Limits
from perfkit.channel.session import Session
from perfkit.channel.sweeper import ensure_sweeper, sweep_soon
from perfkit.errors import MethodUnavailableError, PeerLostError, TransferError, TransferTimeoutError

if TYPE_CHECKING:
    from perfkit.channel.grpc_calls import GrpcCalls

__all__ = ["Conversation", "Lanes"]

Drained = tuple[Lane, "Conversation", tuple[int, int] | None]

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.5
_LOOKS_FOR_S = 0.5


class Conversation:
    """One server process, from the first connection to the last: what it can, and what each side views of the other."""

    def __init__(self, greeting: Greeting, session: Session, lanes: Lanes) -> None:
        self.greeting, self.session = greeting, session
        self.chooser: Chooser | None = None
        self.calls: GrpcCalls | None = None
        self.calls_lock = threading.Lock()
        self.has_ended = False
        self.call_ids = itertools.count(CALLS_FROM)
        self.is_swept = self._is_listening = False
        self.lane_count = 0
        self._lanes = lanes

    def listen(self) -> None:
        """An answer lies in a block of the server: have it told when the last view is gone."""
        if not self._is_listening:
            self._is_listening = True
            ensure_sweeper()
            self.session.when_told(self._sweep_soon)

    def watch(self) -> None:
        """The server views a block of ours after it has answered: hear of its release while nobody sends."""
        self.listen()
        self._sweep_soon()

    def take(self, lane: Lane, events: Sequence[Event]) -> None:
        """Take what came on a lane and is no answer; a lane that the server leaves is not used again."""
        for event in events:
            if isinstance(event, Ended | Leaving):
                lane.has_ended = True
            elif not isinstance(event, Message | Failed):
                self.session.handle(event)

    def drop_answer(self, answer: Message | Failed, block: tuple[int, int] | None) -> None:
        """An answer that nobody waits for: its block goes back, and ours comes back if it may."""
        if isinstance(answer, Message):
            borrowed = self.session.borrow(answer)[1]
            if borrowed is not None:
                self.session.give_back(borrowed)
        is_released = answer.is_released if isinstance(answer, Failed) else answer.flags & RELEASED
        if block is not None and is_released:
            self.session.lent.returned((block,))

    def sweep(self) -> bool:
        """See `perfkit.channel.sweeper.Swept`: tell and hear what there is, over a lane that nobody uses."""
        if self.session.is_over:
            return self.session.end()
        self._lanes.exchange_news(self)
        is_draining = self._lanes.read_drained(self)
        return not (is_draining or self.session.has_news or len(self.session.lent))

    def end(self) -> None:
        """No connection is left."""
        with self.calls_lock:
            self.has_ended = True
            if self.calls is not None:
                self.calls.close()
        if not self.session.end():
            ensure_sweeper()
            self._sweep_soon()

    def _sweep_soon(self) -> None:
        sweep_soon(self)


class Lanes:
    """The lanes of one channel.

    Args:
        path: of the server's socket.
        greet: makes the HELLO, given the token of the conversation to join.
        start_session: makes the session of a new conversation with a server of this pid.
        allowed_users: whose servers are talked to.
        max_lanes: requests under way at once.
        limits: what the server may ask of us.
        connect_timeout_s: how long to wait for a server that does not answer.
    """

    def __init__(
        self,
        path: Path,
        greet: Callable[[str], Greeting],
        start_session: Callable[[int], Session],
        allowed_users: frozenset[int],
        max_lanes: int,
        limits: Limits,
        connect_timeout_s: float,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self.reconnects = -1  # the first one is none
        self._path, self._greet, self._start_session = path, greet, start_session
        self._allowed_users, self._max_lanes, self._limits = allowed_users, max_lanes, limits
        self._idle: list[tuple[Lane, Conversation]] = []
        self._open: dict[Lane, Conversation] = {}
        self._opening = 0
        self._draining: list[Drained] = []
        self._waiting: deque[threading.Event] = deque()
        self._lock, self._greeting = threading.Lock(), threading.Lock()
        self._is_closed = False
        self.conversation: Conversation | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def busy(self) -> int:
        """Lanes with a request under way."""
        return len(self._open) - len(self._idle)

    def take(self, deadline_s: float) -> tuple[Lane, Conversation]:
        """A lane that nobody uses; opens one, or waits for its turn, until `deadline_s` on the monotonic clock.

        Raises:
            MethodUnavailableError: no server answers.
            TransferTimeoutError: all lanes are in use.
            PeerLostError: the channel is closed.
        """
        if not self._waiting:
            try:
                return self._idle.pop()
            except IndexError:
                pass
        return self._open_or_wait(deadline_s)

    def give(self, lane: Lane, conversation: Conversation) -> None:
        """A request was answered: the lane is for the next."""
        if lane.has_ended:
            self.drop(lane, conversation)
            return
        self._idle.append((lane, conversation))
        if self._waiting or self._is_closed:
            self._wake_one()
            if self._is_closed:
                self.close()

    def drop(self, lane: Lane, conversation: Conversation) -> None:
        """A lane that is of no further use; with the last one, the conversation ends."""
        lane.close()
        with self._lock:
            if self._open.pop(lane, None) is None:
                return
            conversation.lane_count -= 1
            is_last = conversation.lane_count == 0
            if is_last and self.conversation is conversation:
                self.conversation = None
        if is_last:
            conversation.end()
        self._wake_one()

    def drain(self, lane: Lane, conversation: Conversation, block: tuple[int, int] | None) -> None:
        """Nobody waits for the answer on a lane any more: it is of use again once the answer has come and was dropped.

        Args:
            block: of ours, in which the request lies.
        """
        with self._lock:
            self._draining.append((lane, conversation, block))
        conversation.watch()

    def read_drained(self, conversation: Conversation) -> bool:
        """Read on, without waiting, the lanes whose callers have gone; True while some are left."""
        with self._lock:
            mine = [drained for drained in self._draining if drained[1] is conversation]
            self._draining = [drained for drained in self._draining if drained[1] is not conversation]
        left = [drained for drained in mine if not self._is_drained(*drained)]
        with self._lock:
            self._draining += left
        return bool(left)

    def _is_drained(self, lane: Lane, conversation: Conversation, block: tuple[int, int] | None) -> bool:
        try:
            while not lane.has_ended and (events := lane.read_waiting()):
                conversation.take(lane, events)
                for answer in events:
                    if isinstance(answer, Message | Failed):
                        conversation.drop_answer(answer, block)
                        self.give(lane, conversation)
                        return True
        except TransferError:
            lane.has_ended = True
        if lane.has_ended:
            self.drop(lane, conversation)
        return lane.has_ended

    def exchange_news(self, conversation: Conversation) -> None:
        """Tell the server what it waits for, and hear what it has to tell, over idle lanes; never waits.

        Over all of them: nobody knows on which one the server tells of a block.
        """
        for _ in range(len(self._idle)):
            try:
                lane, of = self._idle.pop(0)  # given back at the end: senders find the order that they left
            except IndexError:
                return
            try:
                if of is conversation and conversation.session.has_news:
                    lane.write_news()
                of.take(lane, lane.read_waiting())
            except TransferError:
                self.drop(lane, of)
            else:
                self.give(lane, of)

    def look(self) -> None:
        """See whether the server is there: hear what idle lanes have to tell, and greet it anew if none is left."""
        if self.conversation is not None:
            self.exchange_news(self.conversation)
        if self.conversation is None and not self._is_closed:
            with contextlib.suppress(TransferError):  # then there is none, which is what was asked
                self.give(*self._connect(time.monotonic() + _LOOKS_FOR_S))

    def close(self) -> None:
        """Close what is idle now, and the others as they are given back."""
        self._is_closed = True
        while self._idle:
            lane, conversation = self._idle.pop()
            with contextlib.suppress(TransferError, OSError):  # the server is gone: it need not be told
                lane.write(lane.core.goodbye("the channel was closed", 0))
            self.drop(lane, conversation)
        while self._waiting:
            self._wake_one()

    def abandon_in_child(self) -> None:
        """In a forked child: these connections are the parent's."""
        for lane in list(self._open):
            lane.connection.close()
        self._idle, self._open, self._waiting = [], {}, deque()
        self._opening, self.conversation = 0, None
        self._lock, self._greeting = threading.Lock(), threading.Lock()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _open_or_wait(self, deadline_s: float) -> tuple[Lane, Conversation]:
        turn = threading.Event()
        with self._lock:
            self._refuse_if_closed()
            may_open = len(self._open) + self._opening < self._most_lanes()
            if may_open:
                self._opening += 1
            else:
                self._waiting.append(turn)
        if may_open:
            try:
                return self._open_lane(deadline_s)
            finally:
                with self._lock:
                    self._opening -= 1
        return self._wait(turn, deadline_s)

    def _most_lanes(self) -> int:
        """As many as we want and the server takes."""
        conversation = self.conversation
        return self._max_lanes if conversation is None else max(min(self._max_lanes, conversation.greeting.lanes), 1)

    def _wait(self, turn: threading.Event, deadline_s: float) -> tuple[Lane, Conversation]:
        """Stand in line: whoever gives a lane back wakes the first."""
        try:
            if not self._idle and not turn.wait(max(deadline_s - time.monotonic(), 0)):
                raise TransferTimeoutError(
                    f"all {self._most_lanes()} connections of the channel are in use, and none became free in time; "
                    "wait longer, send less at once, or raise max_in_flight"
                )
        finally:
            with contextlib.suppress(ValueError):  # it was woken
                self._waiting.remove(turn)
        self._refuse_if_closed()
        try:
            return self._idle.pop()
        except IndexError:  # the lane that was given back was dropped, or somebody was quicker
            return self._open_or_wait(deadline_s)

    def _wake_one(self) -> None:
        try:
            self._waiting.popleft().set()
        except IndexError:
            return

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise PeerLostError("the channel is closed; connect anew")

    def _open_lane(self, deadline_s: float) -> tuple[Lane, Conversation]:
        """Connect and greet, again and again with growing pauses while no server answers."""
        pause_s = _FIRST_PAUSE_S
        deadline_s = min(deadline_s, time.monotonic() + self._connect_timeout_s)
        while True:
            self._refuse_if_closed()
            try:
                return self._connect(deadline_s)
            except MethodUnavailableError:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise
                # At random: clients of a server that restarts must not all come back at the same moment.
                time.sleep(min(pause_s * random.uniform(0.5, 1.5), left_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _connect(self, deadline_s: float) -> tuple[Lane, Conversation]:
        """Connect and greet, one after the other: each further connection joins the conversation of the first."""
        if not self._greeting.acquire(timeout=max(deadline_s - time.monotonic(), 0.05)):
            raise TransferTimeoutError("the server did not greet another connection in time; is it stopped?")
        try:
            connection = connect_once(self._path)
            lane = Lane(connection, Core(is_server=False, limits=self._limits, allocate=BODIES.allocate))
            try:
                pid = check_peer(connection, self._allowed_users)
                lane.set_timeout(max(deadline_s - time.monotonic(), 0.05))
                answer, rest = self._exchange_greetings(lane, deadline_s)
            except PermissionError as error:
                lane.close()
                raise PeerLostError(f"unix:{self._path}: {error}; allow_users names further users") from None
            except BaseException:
                lane.close()
                raise
            conversation = self._join(lane, answer, pid)
        finally:
            self._greeting.release()
        try:
            conversation.take(lane, rest)
        except BaseException:
            self.drop(lane, conversation)
            raise
        return lane, conversation

    def _exchange_greetings(self, lane: Lane, deadline_s: float) -> tuple[Greeting, list[Event]]:
        known = self.conversation
        greeting = self._greet(known.greeting.token if known is not None else "")
        try:
            lane.write(lane.core.hello(introduce(greeting, is_first=known is None)))
        except PeerLostError as error:
            raise MethodUnavailableError(f"the server at unix:{self._path} is closing ({error})") from None
        try:
            said = lane.read_greeting(deadline_s)
        except TransferTimeoutError:
            raise MethodUnavailableError(
                f"the server at unix:{self._path} takes connections and does not greet; is it starting, or stopped?"
            ) from None
        if said is None:
            raise MethodUnavailableError(f"the server at unix:{self._path} went away while it was greeted")
        return said

    def _join(self, lane: Lane, answer: Greeting, pid: int) -> Conversation:
        with self._lock:
            conversation = self.conversation
            if conversation is None or conversation.greeting.token != answer.token:
                conversation = Conversation(answer, self._start_session(pid), self)
                self.conversation = conversation
                self.reconnects += 1
            conversation.lane_count += 1
            self._open[lane] = conversation
            lane.session = conversation.session
            return conversation
