"""What a peer may say, made by chance from a seed, and what becomes of it when the peer is broken or means harm.

A conversation is a list of `Piece`: bytes, and the descriptors that travel beside them. `valid_pieces` makes one that
follows the rules, `mutate` breaks some of them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
import struct

from perfkit.channel import frames
from perfkit.channel.documents import pack_document, pack_error
from perfkit.channel.frames import ALIGNMENT, BLOCK_NAME, HEADER, HEADER_BYTES, pack_frame, pack_header
from perfkit.transfer.codecs import get_codec

__all__ = ["NOISE", "Piece", "mutate", "split", "valid_pieces"]

OFTEN_BROKEN = (0.02, 0.05, 0.15, 0.5)
SHARE_OF_LARGE_BODIES = 0.01
REQUEST, FETCH = bytes([frames.REQUEST]), bytes([frames.FETCH])
NOISE = random.Random(0).randbytes(2**20)

FIELDS = (("<B", 4), ("<B", 5), ("<H", 6), ("<I", 8), ("<I", 12), *(("<Q", offset) for offset in range(16, 56, 8)))
"""Format and offset of every field of a header but the magic."""

GREETING = {
    "version": frames.VERSION,
    "methods": ["uds", "shm", "shm_pool"],
    "pickle": False,
    "message_bytes": 2**32,
    "pid": 0,
    "pool": "default",
    "token": "",
    "grpc": "",
    "lanes": 8,
    "fingerprint": {},
}
NONSENSE = (
    None,
    True,
    -1,
    2**22,
    2**40,
    0,
    1,
    2**31,
    2**63,
    2**70,
    1.5,
    "",
    "x" * 300,
    "\ud800",
    "\0",
    [],
    [1],
    ["uds", None],
    {},
)


@dataclasses.dataclass(slots=True)
class Piece:
    """Bytes of one frame, and how many descriptors of which sort travel beside it.

    Args:
        data: header, description, body.
        descriptors: sorts, as `resources.DESCRIPTORS` names them.
    """

    data: bytes
    descriptors: tuple[str, ...] = ()


def valid_pieces(chance: random.Random, *, to_server: bool, count: int, first_id: int = 1) -> list[Piece]:
    """A greeting and `count` frames that follow the rules.

    Args:
        chance: where everything comes from.
        to_server: whether a client speaks.
        count: how many frames after the greeting.
        first_id: number of the first request or reply.
    """
    op = frames.HELLO if to_server else frames.WELCOME
    pieces = [Piece(pack_document(op, GREETING))]
    request_id, regions, flags = first_id, 0, (4,) if chance.random() < 0.5 else (1, 5)
    for _ in range(count):
        kind = chance.random()
        if kind < 0.55:
            pieces.append(_message(chance, frames.REQUEST if to_server else frames.REPLY, request_id, regions, flags))
            request_id += 1
        elif kind < 0.7:
            regions += 1
            pieces.append(Piece(pack_header(frames.REGION, region=regions, body_bytes=4096), ("region",)))
        else:
            pieces.append(Piece(_control(chance, to_server, request_id, regions)))
    if chance.random() < 0.2:
        pieces.append(Piece(pack_document(frames.GOODBYE, {"reason": "done"}, request_id)))
    return pieces


def _message(chance: random.Random, op: int, request_id: int, regions: int, flags: tuple[int, ...]) -> Piece:
    carriers = (frames.NOTHING, frames.BYTES, frames.BYTES, frames.SEGMENT, frames.IN_BLOCK)
    carrier = chance.choice(carriers if regions else carriers[:-1])
    descriptors, body, region, offset = (), b"", 0, 0
    body_bytes = chance.choice((0, 1, 63, 64, 65, 1000, 9000))
    if carrier == frames.BYTES:
        if chance.random() < SHARE_OF_LARGE_BODIES:
            body_bytes = chance.randrange(100_000, 400_000)
        body = NOISE[:body_bytes] + bytes(-body_bytes % ALIGNMENT)
    elif carrier == frames.NOTHING:
        body_bytes = 0
    elif carrier == frames.IN_BLOCK:
        region, offset, body_bytes = regions, chance.choice((0, 64, 2048)), min(body_bytes, 1000)
    else:
        region, body_bytes, descriptors = 4096, min(body_bytes, 1000), ("region",)
    meta = b"" if carrier == frames.NOTHING else _meta_of(body_bytes)
    meta = meta if op == frames.REPLY else b"\0\0" + meta
    header = pack_header(
        op,
        request_id,
        carrier=carrier,
        flags=chance.choice(flags),
        meta_bytes=len(meta),
        body_bytes=body_bytes,
        payload_bytes=body_bytes,
        region=region,
        offset=offset,
        time_ns=chance.choice((0, 10**6, 10**9)),
    )
    return Piece(pack_frame(header, meta) + body, descriptors)


@functools.lru_cache(maxsize=64)
def _meta_of(body_bytes: int) -> bytes:
    """The description of a payload of so many bytes, so that its receiver can read it."""
    return get_codec("binary", "raw").encode(NOISE[:body_bytes]).meta


def _control(chance: random.Random, to_server: bool, request_id: int, regions: int) -> bytes:
    kind = chance.randrange(5 if to_server else 3)
    if kind == 0:
        names = b"".join(BLOCK_NAME.pack(chance.randrange(8), chance.choice((0, 64, 4096))) for _ in range(3))
        return pack_frame(pack_header(frames.RELEASE, meta_bytes=len(names)), names)
    if kind == 1:
        return pack_header(frames.FORGET, region=regions + 1)  # the newest is in use
    if kind == 2:
        return pack_error(0, "handler", "ValueError", "text")
    if kind == 3:
        return pack_header(frames.CANCEL, chance.randrange(request_id + 2))
    return pack_header(frames.FETCH, chance.randrange(request_id + 2))


# --- breaking it -----------------------------------------------------------------------------------------------------


def mutate(chance: random.Random, pieces: list[Piece], *, keeps_greeting: bool) -> list[Piece]:
    """Break some of the pieces, and their order; the greeting stays whole where asked."""
    begin = 1 if keeps_greeting else 0
    share = chance.choice(OFTEN_BROKEN)
    broken = pieces[:begin]
    for piece in pieces[begin:]:
        broken += _mutated(chance, piece) if chance.random() < share else [piece]
    if chance.random() < share and len(broken) > begin + 1:
        here, there = chance.randrange(begin, len(broken)), chance.randrange(begin, len(broken))
        broken[here], broken[there] = broken[there], broken[here]
    return broken


def _mutated(chance: random.Random, piece: Piece) -> list[Piece]:
    return chance.choice(MUTATIONS)(chance, piece)


def _flip_bits(chance: random.Random, piece: Piece) -> list[Piece]:
    data = bytearray(piece.data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[chance.randrange(min(len(data), 192))] ^= 1 << chance.randrange(8)
    return [Piece(bytes(data), piece.descriptors)]


def _set_field(chance: random.Random, piece: Piece) -> list[Piece]:
    format_of_field, offset = chance.choice(FIELDS)
    top = 2 ** (8 * struct.calcsize(format_of_field)) - 1
    value = chance.choice((0, 1, 2, 63, 64, 65, 4095, 4097, 2**20 + 1, 2**31, 2**32 - 1, 2**63, top - 1, top))
    data = bytearray(piece.data)
    struct.pack_into(format_of_field, data, offset, min(value, top))
    return [Piece(bytes(data), piece.descriptors)]


def _truncate(chance: random.Random, piece: Piece) -> list[Piece]:
    return [Piece(piece.data[: chance.randrange(len(piece.data))], piece.descriptors)]


def _repeat(_: random.Random, piece: Piece) -> list[Piece]:
    return [piece, piece]


def _drop(_: random.Random, __: Piece) -> list[Piece]:
    return []


def _add_noise(chance: random.Random, piece: Piece) -> list[Piece]:
    begin = chance.randrange(len(NOISE) - 400)
    return [Piece(NOISE[begin : begin + chance.choice((1, 64, 65, 256, 400))]), piece]


def _random_header(chance: random.Random, piece: Piece) -> list[Piece]:
    numbers = [chance.choice((0, 1, 64, 4096, 2**40, 2**64 - 1)) for _ in range(5)]
    meta_bytes = chance.choice((0, 0, 2, 16, 64, 2**16 + 1))
    request_id = chance.choice((0, 1, 5, 2**32 - 1))
    header = HEADER.pack(
        frames.MAGIC, chance.randrange(14), chance.randrange(6), chance.randrange(16), meta_bytes, request_id, *numbers
    )
    return [Piece(header + NOISE[: chance.choice((0, meta_bytes))]), piece]


def _odd_document(chance: random.Random, piece: Piece) -> list[Piece]:
    op = chance.choice(frames.DOCUMENT_OPS)
    facts: object = {**GREETING, chance.choice(tuple(GREETING)): chance.choice(NONSENSE)}
    if chance.random() < 0.3:
        facts = chance.choice(NONSENSE)
    meta = json.dumps(facts).encode()
    if chance.random() < 0.3:
        depth = chance.choice((10, 900, 5000))
        meta = b"[" * depth + b"]" * depth if chance.random() < 0.5 else b'{"text":' + b"9" * depth + b"}"
    return [Piece(pack_frame(pack_header(op, chance.randrange(4), meta_bytes=len(meta)), meta))]


def _swap_descriptors(chance: random.Random, piece: Piece) -> list[Piece]:
    sorts = [(), ("region",), ("small",), ("unsealed",), ("folder",), ("pipe",), ("region",) * 3, ("region",) * 8]
    return [Piece(piece.data, chance.choice(sorts))]


def _odd_release(chance: random.Random, _: Piece) -> list[Piece]:
    length = chance.choice((0, 1, 15, 16, 17, 4096 * 16, 4097 * 16))
    return [Piece(pack_frame(pack_header(frames.RELEASE, meta_bytes=length), NOISE[:length]))]


MUTATIONS = (
    _flip_bits, _flip_bits, _set_field, _set_field, _set_field, _truncate, _repeat, _drop, _add_noise, _random_header,
    _odd_document, _swap_descriptors, _odd_release,
)  # fmt: skip


def split(chance: random.Random, pieces: list[Piece]) -> list[Piece]:
    """The same bytes in other portions: joined, or cut anywhere. A descriptor comes with its frame's begin."""
    manner = chance.random()
    if manner < 0.3:
        return pieces
    if manner < 0.5:
        return [*pieces[:1], *_joined(pieces[1:])]
    parts: list[Piece] = []
    for piece in pieces:
        length = len(piece.data)
        cuts = sorted(chance.randrange(length + 1) for _ in range(chance.choice((0, 1, 1, 3)))) if length else []
        if cuts and chance.random() < 0.2:
            cuts = list(range(1, min(length, HEADER_BYTES + 2)))  # byte by byte
        borders = [0, *cuts, length]
        for index, (begin, end) in enumerate(itertools.pairwise(borders)):
            parts.append(Piece(piece.data[begin:end], piece.descriptors if index == 0 else ()))
    return parts


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Frames that come together: up to the next of which a client waits for the answer before it says more."""
    parts: list[Piece] = []
    is_waited_for = True
    for piece in pieces:
        if is_waited_for or len(parts[-1].descriptors) + len(piece.descriptors) > 4:
            parts.append(piece)
        else:
            parts[-1] = Piece(parts[-1].data + piece.data, parts[-1].descriptors + piece.descriptors)
        op, flags = piece.data[4:5], piece.data[6:7] or b"\0"
        is_waited_for = op == FETCH or (op == REQUEST and bool(flags[0] & frames.EXCLUSIVE))
    return parts
