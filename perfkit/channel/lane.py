"""The synchronous shell around the protocol: one connection, its core, and blocking reads and writes.

A client has one request under way on a lane at a time and opens as many lanes as it needs: who waits for an answer
reads it itself, and no thread has to be woken between two processes.
"""

from __future__ import annotations

import array
import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence

from perfkit.channel.core import Core
from perfkit.channel.events import Ended, Event, Failed, Greeted, Leaving
from perfkit.channel.frames import ALIGNMENT, NOTHING, PADDINGS
from perfkit.channel.greeting import Greeting, introduce, read_greeting
from perfkit.channel.loading import Load
from perfkit.channel.session import Session
from perfkit.errors import PeerLostError, ProtocolError, TransferError, TransferTimeoutError
from perfkit.transfer.memory import Region
from perfkit.transfer.wire import send_all, send_small, send_with, set_timeout

__all__ = ["Lane"]

_JOINED_BYTES = 16 * 2**10  # up to here a copy is cheaper than a system call with several buffers
_ANCILLARY_BYTES = socket.CMSG_SPACE(4 * 4)
_LOST = (ConnectionResetError, BrokenPipeError)


class Lane:
    """A connection. Reads belong to one thread at a time; writes are safe from several."""

    __slots__ = (
        "_apart", "_apart_lock", "_has_left", "_has_said_goodbye", "_last_begun", "connection", "core",
        "has_ended", "introduced", "is_handling", "session", "timeout_s", "write_lock",
    )  # fmt: skip

    def __init__(self, connection: socket.socket, core: Core) -> None:
        self.connection, self.core = connection, core
        self.session: Session | None = None
        self.write_lock = threading.Lock()
        self.timeout_s = 0.0
        self.has_ended = self.is_handling = self._has_left = self._has_said_goodbye = False
        self.introduced: set[int] = set()
        self._last_begun = self._apart = 0
        self._apart_lock = threading.Lock()

    def set_timeout(self, timeout_s: float) -> None:
        """Bound every later wait for the peer, in the kernel."""
        if timeout_s != self.timeout_s:
            set_timeout(self.connection, max(timeout_s, 1e-3))
            self.timeout_s = timeout_s

    def read(self, flags: int = 0) -> list[Event]:
        """Wait for bytes; the events that they complete, which may be none.

        Args:
            flags: for the socket.

        Raises:
            TransferTimeoutError: nothing came in time.
            ProtocolError: the peer broke the rules.
        """
        core = self.core
        if core.waits_for_body and not flags:
            flags = socket.MSG_WAITALL
        try:
            count, ancillary, received, _ = self.connection.recvmsg_into((core.get_buffer(),), _ANCILLARY_BYTES, flags)
        except BlockingIOError:
            raise TransferTimeoutError("the peer did not answer in time; is it stopped or overloaded?") from None
        except _LOST:
            return core.end_received()
        except OSError as error:
            if self.connection.fileno() < 0:
                raise PeerLostError("the connection was closed here") from None
            raise PeerLostError(f"the connection broke: {error}") from error
        if ancillary or received:
            self._take_descriptors(ancillary, is_cut=bool(received & socket.MSG_CTRUNC))
        return core.buffer_updated(count) if count else core.end_received()

    def read_waiting(self) -> list[Event]:
        """The events that are there already; never waits.

        Raises:
            ProtocolError: the peer broke the rules.
        """
        try:
            return self.read(socket.MSG_DONTWAIT)
        except TransferTimeoutError:
            return []

    def write(self, frame: bytes) -> None:
        """Write a frame without a body, with the session's news in front of it.

        Raises:
            PeerLostError, TransferTimeoutError: as `perfkit.transfer.wire.send_all`.
        """
        with self.write_lock:
            try:
                if self.session is not None and self.session.has_news:
                    frame = self.session.news(self.core) + frame
                send_small(self.connection, frame)
            except BaseException:
                self._break_off()
                raise

    def write_message(self, header: bytes, meta: bytes, load: Load | None) -> None:
        """Write a request or a reply with what carries its body; introduces the region of a block where needed.

        Raises:
            PeerLostError, TransferTimeoutError: as `perfkit.transfer.wire.send_all`.
        """
        padding = PADDINGS[len(meta) % ALIGNMENT]
        session = self.session
        assert session is not None  # requests and replies come after the handshake
        with self.write_lock:
            try:
                news = session.news(self.core) if session.to_release or session.to_forget else b""
                if load is None or load.carrier == NOTHING:
                    send_small(self.connection, b"".join((news, header, meta, padding)))
                elif load.body is not None:
                    body, body_padding = load.body, PADDINGS[load.body.nbytes % ALIGNMENT]
                    if body.nbytes <= _JOINED_BYTES:
                        send_small(self.connection, b"".join((news, header, meta, padding, body, body_padding)))
                    else:
                        self._write_large(b"".join((news, header, meta, padding)), body, body_padding)
                elif load.block is not None:
                    region = load.block.region
                    if session.knows(region.id, self.introduced):
                        send_small(self.connection, b"".join((news, header, meta, padding)))
                    else:
                        self.introduced.add(region.id)
                        introduction = self.core.region(region.id, region.size_bytes)
                        self._write_with(b"".join((news, introduction, header, meta, padding)), region)
                else:
                    assert load.segment is not None  # one of the three carries it
                    self._write_with(b"".join((news, header, meta, padding)), load.segment)
            except BaseException:
                self._break_off()
                raise

    def write_quickly(self, frame: bytes) -> None:
        """Write a whole small frame, if the peer has nothing else to be told; otherwise as `write`."""
        session = self.session
        if session is None or session.to_release or session.to_forget:
            self.write(frame)
        else:
            with self.write_lock:
                try:
                    send_small(self.connection, frame)
                except BaseException:
                    self._break_off()
                    raise

    def write_news(self) -> bool:
        """Tell the peer what it has to know, without waiting; False when that is not possible now."""
        session = self.session
        if session is None or not self.write_lock.acquire(blocking=False):
            return False
        try:
            if not self._takes_more():  # what is taken out of the news has to be sent
                return False
            frames = session.news(self.core)
            sent = self.connection.send(frames, socket.MSG_DONTWAIT)
            if sent < len(frames):
                send_small(self.connection, frames[sent:])
            return True
        except (OSError, TransferError):  # the connection is going; what it knew goes with it
            self._break_off()
            return False
        finally:
            self.write_lock.release()

    # --- a server's part ---------------------------------------------------------------------------------------------

    def read_greeting(self, deadline_s: float) -> tuple[Greeting, list[Event]] | None:
        """Wait for HELLO or WELCOME, and what came right behind it; None when the peer went instead.

        Args:
            deadline_s: on the monotonic clock; a peer that says it byte by byte has no longer than others.

        Raises:
            ProtocolError: it said something else, or speaks another version.
            PeerLostError: it refused, and said why.
            TransferTimeoutError: it did not greet in time.
        """
        while True:
            events = self.read()
            for number, event in enumerate(events, 1):
                if isinstance(event, Greeted):
                    return read_greeting(event.facts), events[number:]
                if isinstance(event, Failed):
                    raise PeerLostError(f"the peer refused the connection: {event.text}")
                if isinstance(event, Ended | Leaving):
                    return None
            if time.monotonic() > deadline_s:
                raise TransferTimeoutError("the peer did not greet in time; is it stopped or overloaded?")

    def write_welcome(self, answer: Greeting, *, is_first: bool) -> None:
        """Open the connection."""
        with self.write_lock:
            send_small(self.connection, self.core.welcome(introduce(answer, is_first=is_first)))

    def begin_apart(self, request_id: int) -> bool:
        """As `begin`, for a request that others overtake."""
        with self._apart_lock:
            if not self.begin(request_id):
                return False
            self._apart += 1
        self.is_handling = False
        return True

    def begin(self, request_id: int) -> bool:
        """A request is about to be handled; False when goodbye was said before, and the client sends it elsewhere."""
        # In this order, and in the opposite one in `say_goodbye`: one of the two threads sees the other.
        self.is_handling = True
        if self._has_left:
            self.is_handling = False
            return False
        self._last_begun = request_id
        return True

    def end_apart(self) -> None:
        """A request that others could overtake was answered."""
        with self._apart_lock:
            self._apart -= 1

    def say_goodbye(self, reason: str) -> bool:
        """Unless something is under way, say that nothing more will be handled, and end the connection."""
        self._has_left = True
        if not self.write_lock.acquire(blocking=False):  # an answer is being written
            return False
        try:
            if self.is_handling or self._apart:
                return False
            if not self._has_said_goodbye:
                self._has_said_goodbye = True
                with contextlib.suppress(OSError, TransferError):  # the client is gone: nobody to say it to
                    send_small(self.connection, self.core.goodbye(reason, self._last_begun))
                self.shut_down()
            return True
        finally:
            self.write_lock.release()

    # --- both ends ---------------------------------------------------------------------------------------------------

    def answered(self) -> None:
        """The peer answered what was written here last: it knows the regions that were introduced before."""
        if self.introduced and self.session is not None:
            self.session.confirm(self.introduced)

    def close(self) -> None:
        """Close the connection; the peer sees its end at once."""
        self.core.close()
        self.connection.close()

    def stop_reading(self) -> None:
        """Have a read that is under way in another thread return; the peer can still be told why."""
        with contextlib.suppress(OSError):  # it is closed already
            self.connection.shutdown(socket.SHUT_RD)

    def shut_down(self) -> None:
        """End the connection from another thread: a read that is under way returns."""
        with contextlib.suppress(OSError):  # it is closed already
            self.connection.shutdown(socket.SHUT_RDWR)

    def _takes_more(self) -> bool:
        """Whether the connection stands, and a write would not wait."""
        poll = select.poll()
        try:
            poll.register(self.connection, select.POLLOUT)
        except ValueError:  # it was closed here meanwhile
            return False
        return [state for _, state in poll.poll(0)] == [select.POLLOUT]

    def _break_off(self) -> None:
        """Part of a frame may have been written: the peer would take the next one for the rest of it."""
        self.shut_down()

    def _take_descriptors(self, ancillary: Sequence[tuple[int, int, bytes]], *, is_cut: bool) -> None:
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        self.core.descriptors_received(descriptors)
        if is_cut:
            raise ProtocolError("more descriptors came with one frame than it can announce")

    def _write_with(self, frame: bytes, region: Region) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [region.descriptor]))]
        sent = send_with(self.connection, frame, rights)
        if sent < len(frame):
            send_small(self.connection, frame[sent:])

    def _write_large(self, frame: bytes, body: memoryview, padding: bytes) -> None:
        if padding:
            send_all(self.connection, frame, body, padding)
        else:
            send_all(self.connection, frame, body)
