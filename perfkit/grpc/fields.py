"""The large `bytes` fields of a protobuf message: found, left out of a copy, put back.

A copy without them is built field by field: `CopyFrom` would copy the very bytes that are to be left out, and clearing
the caller's own message would be seen by the caller's other threads. Reading a field is the one copy that protobuf
cannot be talked out of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from perfkit.errors import TransferError

__all__ = ["SINGLE", "Found", "Path", "Search", "copy_without", "put_back"]

Path = tuple[tuple[int, int], ...]
"""From the message to a field: the number of a field and the index within it, step by step."""

SINGLE = -1
"""The index of a field that is not repeated."""

_MOST_VISITED = 1000
"""Messages inside a message that are looked into; what comes after them stays where it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A `bytes` field that is wanted elsewhere: where it stands, and what it holds."""

    path: Path
    body: bytes


class Search:
    """What a message holds that is worth moving.

    Args:
        message: is only read.
        is_wanted: asked with the size of every `bytes` field.

    Attributes:
        found: the fields that are wanted.
        kept: why what is wanted stays in the message after all; empty while nothing speaks against it.
        seen_bytes: size of all `bytes` fields that were looked at, wanted or not.
        message: what was searched.
        has_unknown: a message with a wanted field holds fields that its class does not know: a copy would lose them.
    """

    __slots__ = ("_is_wanted", "_visited", "found", "has_unknown", "kept", "listed", "message", "seen_bytes")

    def __init__(self, message: Message, is_wanted: Callable[[int], bool]) -> None:
        self._is_wanted = is_wanted
        self._visited = 0
        self.message = message
        self.found: list[Found] = []
        self.seen_bytes = 0
        self.has_unknown = False
        self.kept = ""
        self.listed: dict[Path, Sequence[tuple[FieldDescriptor, Any]]] = {}
        self._look_into(message, ())

    def _look_into(self, message: Message, path: Path) -> bool:
        """Whether something in `message` is wanted."""
        leads = _leads(message.DESCRIPTOR)
        if not leads or self._visited >= _MOST_VISITED:
            return False
        self._visited += 1
        # Listing reads every field: the one time that large ones are read.
        fields = message.ListFields()
        is_any = False
        for field, value in fields:
            if field.number in leads and not field.is_extension:
                is_any |= self._look_at(field, value, path)
        if is_any:
            self.listed[path] = fields
            self.has_unknown |= len(UnknownFieldSet(message)) > 0
        return is_any

    def _look_at(self, field: FieldDescriptor, value: Any, path: Path) -> bool:
        numbered = enumerate(value) if field.is_repeated else ((SINGLE, value),)
        is_any = False
        for index, item in numbered:
            inner = (*path, (field.number, index))
            if field.type != FieldDescriptor.TYPE_BYTES:
                is_any |= self._look_into(item, inner)
                continue
            self.seen_bytes += len(item)
            if self._is_wanted(len(item)):
                self.found.append(Found(inner, item))
                is_any = True
        return is_any


@lru_cache(maxsize=1024)
def _leads(descriptor: Descriptor) -> frozenset[int]:
    """Numbers of the fields that are `bytes` or hold some further down; maps are left alone."""
    return frozenset(field.number for field in descriptor.fields if _leads_on(field))


def _leads_on(field: FieldDescriptor) -> bool:
    inner = _inner(field)
    return field.type == FieldDescriptor.TYPE_BYTES or (inner is not None and _holds_bytes(inner))


def _inner(field: FieldDescriptor) -> Descriptor | None:
    inner = field.message_type
    return None if inner is None or inner.GetOptions().map_entry else inner


def _holds_bytes(descriptor: Descriptor) -> bool:
    """Whether a message of this kind can hold `bytes`, at any depth; messages may hold their own kind."""
    ahead, reached = [descriptor], {descriptor.full_name}
    while ahead:
        for field in ahead.pop().fields:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return True
            inner = _inner(field)
            if inner is not None and inner.full_name not in reached:
                reached.add(inner.full_name)
                ahead.append(inner)
    return False


def copy_without(search: Search, taken: Sequence[Found]) -> Message:
    """A copy of a message in which some `bytes` fields are empty; the message stays as it is.

    Args:
        search: what was found in the message.
        taken: which of the fields found are left empty.
    """
    below: dict[Path, set[int]] = {}
    for found in taken:
        for depth, (number, _) in enumerate(found.path):
            below.setdefault(found.path[:depth], set()).add(number)
    copy = type(search.message)()
    _copy_into(copy, (), _Omission(search.listed, frozenset(found.path for found in taken), below))
    return copy


@dataclasses.dataclass(frozen=True, slots=True)
class _Omission:
    """What is left empty: the fields of the messages on the way, the paths, the numbers that lead on below a path."""

    listed: Mapping[Path, Sequence[tuple[FieldDescriptor, Any]]]
    paths: frozenset[Path]
    below: Mapping[Path, set[int]]


def _copy_into(copy: Message, path: Path, omission: _Omission) -> None:
    touched = omission.below[path]
    for field, value in omission.listed[path]:
        if field.is_extension or field.number not in touched:
            _copy_field(copy, field, value)
        elif field.is_repeated:
            _copy_items(getattr(copy, field.name), value, (path, field.number), omission)
        elif (inner := (*path, (field.number, SINGLE))) in omission.paths:
            setattr(copy, field.name, b"")  # not absent: a required field and the case of a oneof are kept
        else:
            getattr(copy, field.name).SetInParent()
            _copy_into(getattr(copy, field.name), inner, omission)


def _copy_items(items: Any, values: Any, place: tuple[Path, int], omission: _Omission) -> None:
    path, number = place
    for index in range(len(values)):  # not by iteration, which would read the large ones again
        inner = (*path, (number, index))
        if inner in omission.paths:
            items.append(b"")
        elif inner in omission.below:
            _copy_into(items.add(), inner, omission)
        else:
            items.append(values[index])


def _copy_field(copy: Message, field: FieldDescriptor, value: Any) -> None:
    if not field.is_repeated and field.message_type is None:
        if field.is_extension:
            copy.Extensions[field] = value  # type: ignore[index]
        else:
            setattr(copy, field.name, value)
        return
    place = copy.Extensions[field] if field.is_extension else getattr(copy, field.name)  # type: ignore[index]
    place.MergeFrom(value)
    if not field.is_repeated:
        place.SetInParent()  # an empty message is not an absent one


def put_back(message: Message, path: Path, body: bytes) -> None:
    """Set one `bytes` field of a message that a peer sent without it.

    Raises:
        TransferError: there is no such field.
    """
    try:
        *steps, (last_number, last_index) = path
        for number, index in steps:
            field = message.DESCRIPTOR.fields_by_number[number]
            if field.message_type is None or field.is_repeated != (index != SINGLE):
                raise TransferError(f"{message.DESCRIPTOR.full_name} has no message at {number}[{index}]")
            inner = getattr(message, field.name)
            message = inner if index == SINGLE else inner[index]
        field = message.DESCRIPTOR.fields_by_number[last_number]
        if field.type != FieldDescriptor.TYPE_BYTES or field.is_repeated != (last_index != SINGLE):
            raise TransferError(f"{message.DESCRIPTOR.full_name} has no bytes at {last_number}[{last_index}]")
        if last_index == SINGLE:
            setattr(message, field.name, body)
        else:
            getattr(message, field.name)[last_index] = body
    except (KeyError, IndexError, ValueError) as error:
        raise TransferError(f"{path} does not lead to a field of {message.DESCRIPTOR.full_name}: {error!r}") from None
