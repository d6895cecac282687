"""Which fields of a message travel through shared memory, and their way into a block; the same on both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from google.protobuf.message import Message

from perfkit.engine import Binding, Decision, Engine
from perfkit.errors import InputError, NoRoomError
from perfkit.grpc.fields import Found, Search, copy_without
from perfkit.grpc.own import OwnMemory
from perfkit.grpc.statistics import Tally
from perfkit.grpc.wire import Parcel, parcel_bytes
from perfkit.transfer.arena import Block

__all__ = ["Choice", "Chooser", "Packed", "Packer"]

_MOST_PARCEL_BYTES = 4096
_METADATA_LIMIT_BYTES = 8192
"""What gRPC takes by default, keys and values and 32 bytes for each; beyond it calls fail."""
_OTHERS_BYTES = 1536
"""Room for our offer or answer, and for what gRPC adds."""


class Chooser:
    """Decides by a field's size: with an engine as its plan says, without one from a threshold on."""

    def __init__(self, engine: Engine | None, pool: str, threshold_bytes: int) -> None:
        if threshold_bytes < 1:
            raise InputError(f"threshold_bytes == {threshold_bytes}, must be 1 or more")
        self._threshold_bytes = threshold_bytes
        self._engine = engine
        self._binding: Binding | None = None
        if engine is not None:
            self._binding = engine.bind(
                pool=pool, kind="binary", format="raw", signalling="grpc", available=("grpc", "shm_pool")
            )

    def choose(self) -> Choice:
        """What is asked for the fields of one message."""
        return Choice(self._threshold_bytes, self._binding)

    def tell_success(self, decision: Decision, payload_bytes: int, latency_ns: int) -> None:
        """The decided method carried a message.

        Args:
            decision: what was decided.
            payload_bytes: size of its fields.
            latency_ns: how long it took, without the handler; 0 where that is not known.
        """
        if self._engine is not None and (latency_ns or self._engine.awaits_success):
            self._engine.observe(decision, payload_bytes, latency_ns)

    def tell_failure(self, decision: Decision, payload_bytes: int, reason: str) -> None:
        """The decided method failed, and it is its fault."""
        if self._engine is not None:
            self._engine.observe(decision, payload_bytes, 0, ok=False, error=reason)


class Choice:
    """Says of the fields of one message which should travel through shared memory.

    Attributes:
        decision: the one for the largest field, which the message as a whole is said to follow; None while no field was
            asked for, and without an engine.
    """

    __slots__ = ("_binding", "_largest_bytes", "_threshold_bytes", "decision")

    def __init__(self, threshold_bytes: int, binding: Binding | None) -> None:
        self._threshold_bytes, self._binding = threshold_bytes, binding
        self._largest_bytes = 0
        self.decision: Decision | None = None

    def is_wanted(self, field_bytes: int) -> bool:
        """Whether a field of this size should travel through shared memory."""
        if self._binding is None:
            return field_bytes >= self._threshold_bytes
        if not field_bytes:
            return False
        decision = self._binding.decide(field_bytes)
        if field_bytes > self._largest_bytes:
            self._largest_bytes, self.decision = field_bytes, decision
        return decision.method == "shm_pool"


@dataclasses.dataclass(frozen=True, slots=True)
class Packed:
    """A message on its way: a copy without the large fields, and the block that holds them."""

    message: Message
    block: Block
    parcel: Parcel

    @property
    def fields_bytes(self) -> int:
        """What the fields in the block hold."""
        return sum(place.length for place in self.parcel.places)


class Packer:
    """Moves the large fields of messages into one side's own memory."""

    def __init__(self, chooser: Chooser, own: OwnMemory, tally: Tally) -> None:
        self._chooser, self._own, self._tally = chooser, own, tally

    def choose(self) -> Choice:
        """What decides for one message."""
        return self._chooser.choose()

    def search(self, message: object, choice: Choice) -> Search | None:
        """What `message` holds that is worth moving; None when it is no protobuf message."""
        return Search(message, choice.is_wanted) if isinstance(message, Message) else None

    def pack(self, message: object, metadata_bytes: int, may_hold: Callable[[int], bool]) -> Packed | None:
        """Search a message and move what is found; see `move`."""
        search = self.search(message, self.choose())
        return None if search is None else self.move(search, metadata_bytes, may_hold)

    def move(
        self, search: Search, metadata_bytes: int = 0, may_hold: Callable[[int], bool] | None = None
    ) -> Packed | None:
        """Move what was found; the message stays as it is.

        Args:
            search: what was found.
            metadata_bytes: size of the metadata that the service itself sends along.
            may_hold: asked with the bytes that would be held; over a cap, nothing is moved.

        Returns:
            What to send instead; None when all of it has to stay inline, which is counted with its reason.
        """
        if not search.found:
            return None
        taken = _that_fit(search.found, _METADATA_LIMIT_BYTES - _OTHERS_BYTES - metadata_bytes)
        reason = "no room in the metadata" if len(taken) < len(search.found) else ""
        packed = None
        if search.has_unknown:
            reason = "fields unknown to the message's class"
        elif may_hold is not None and not may_hold(sum(len(found.body) for found in taken)):
            reason = "over the client's cap"
        elif taken:
            try:
                packed = self._put(search, taken)
            except (NoRoomError, OSError):
                reason = "no room in shared memory"
        if reason:
            self._tally.fall_back(reason)
        if packed is None:
            search.kept = reason
        return packed

    def _put(self, search: Search, taken: list[Found]) -> Packed:
        block, parcel = self._own.put(taken)
        try:
            return Packed(copy_without(search, taken), block, parcel)
        except BaseException:
            self._own.release(block)
            raise


def _that_fit(found: list[Found], limit_bytes: int) -> list[Found]:
    """The largest fields whose announcement stays within the limit, in the order of the message."""
    limit_bytes = min(limit_bytes, _MOST_PARCEL_BYTES)
    if parcel_bytes(one.path for one in found) <= limit_bytes:
        return found
    fitting: list[Found] = []
    left_bytes = limit_bytes - parcel_bytes(())
    for one in sorted(found, key=lambda one: -len(one.body)):
        left_bytes -= parcel_bytes([one.path]) - parcel_bytes(())
        if left_bytes < 0:
            break
        fitting.append(one)
    kept = {one.path for one in fitting}
    return [one for one in found if one.path in kept]
