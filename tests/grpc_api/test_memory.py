"""A block is read by whom it was announced to, while it holds what was announced, and by nobody else."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest

from perfkit.errors import NoRoomError, TransferError
from perfkit.grpc.fields import Found
from perfkit.grpc.own import OwnMemory, host_identity, process_started
from perfkit.grpc.peer import PeerMemory, can_open
from perfkit.grpc.wire import Answer, Offer, Parcel

LARGE = b"x" * 2**20


def test_a_reader_that_comes_late_finds_another_message_and_refuses(ends: Any) -> None:
    own = OwnMemory(2**24, ends.arena())
    peer = PeerMemory(own.identity)
    block, parcel = own.put([Found(((1, -1),), LARGE)])
    assert peer.copy_out(parcel) == [LARGE]
    own.release(block)
    again, other = own.put([Found(((1, -1),), b"o" * 2**20)])
    assert (again.region.id, again.offset) == (block.region.id, block.offset)
    with pytest.raises(TransferError, match="another message"):
        peer.copy_out(parcel)
    assert peer.copy_out(other) == [b"o" * 2**20]
    own.close()
    peer.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 2**40},
        {"region_bytes": 2**12},
        {"descriptor": 2**20},
        {"nonce": b"guessed nonce..."},
        {"places": "beyond"},
        {"places": "bomb"},
    ],
)
def test_a_dishonest_announcement_is_refused(ends: Any, changes: dict[str, Any]) -> None:
    own = OwnMemory(2**24, ends.arena())
    _, parcel = own.put([Found(((1, -1),), LARGE)])
    (place,) = parcel.places
    places = {
        "beyond": (dataclasses.replace(place, offset=parcel.region_bytes - 5),),
        "bomb": (place,) * 1000,
    }
    changes = {name: places.get(value, value) if name == "places" else value for name, value in changes.items()}
    peer = PeerMemory(own.identity)
    with pytest.raises(TransferError):
        peer.copy_out(dataclasses.replace(parcel, **changes))
    own.close()
    peer.close()


def test_memory_that_its_owner_gave_back_is_unmapped(ends: Any) -> None:
    arena = ends.arena(2**23)
    own = OwnMemory(2**23, arena)
    peer = PeerMemory(own.identity)
    for size in (5 * 2**20, 6 * 2**20, 7 * 2**20):  # each needs the room of the one before
        block, parcel = own.put([Found(((1, -1),), b"x" * size)])
        assert len(peer.copy_out(parcel)[0]) == size
        own.release(block)
    assert peer.regions == 1
    arena.close()
    peer.forget_released()
    assert peer.regions == 0
    own.close()


def test_only_a_peer_that_is_who_it_says_can_be_opened(ends: Any) -> None:
    own = OwnMemory(2**20, None)
    identity = own.identity
    assert can_open(identity, identity)
    for changes in ({"host": b"h" * 16}, {"started": 1}, {"probe_secret": b"s" * 16}, {"probe_descriptor": 2**32 - 1}):
        assert not can_open(dataclasses.replace(identity, **changes), identity)
    own.close()
    assert not can_open(identity, identity)
    with pytest.raises(NoRoomError, match="closed"):
        own.put([Found(((1, -1),), LARGE)])


def test_hosts_and_processes_are_told_apart() -> None:
    assert host_identity() == host_identity()
    assert process_started(os.getpid()) == process_started(os.getpid()) != process_started(1)
    assert process_started(2**22 + 1) is None


@pytest.mark.parametrize("kind", [Offer, Answer, Parcel])
def test_damaged_words_are_not_understood(ends: Any, kind: Any) -> None:
    own = OwnMemory(2**24, ends.arena())
    _, parcel = own.put([Found(((1, -1), (2, 3)), LARGE)])
    words = {
        Offer: Offer(own.identity, True, False, b"t" * 16, (1,), (2, 3)),
        Answer: Answer(own.identity, True, False, 5, 6, (7,)),
        Parcel: parcel,
    }
    whole = words[kind].pack()
    assert kind.unpack(whole) == words[kind]
    for packed in (b"", whole[:1], whole[:-1], b"\x09" + whole[1:]):
        if kind is Parcel:
            with pytest.raises(TransferError):
                kind.unpack(packed)
        else:
            assert kind.unpack(packed) is None
    own.close()
