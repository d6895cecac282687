"""Broken and hostile frames: `python tests/fuzz/fuzz_frames.py --frames 1000000 [--seed N] [--json]`.

Most go to the protocol's core alone, as server and as client, with a session behind it that maps what is introduced
and borrows what is announced. Some go to a server that runs, and some come from a server to a client that runs
(`live.py`). What may come out is a `TransferError` that says what is wrong with the peer, and nothing else: no other
exception, no hang, no memory, thread or descriptor more than before.

The same seed makes the same frames. A crash is printed with the number of its conversation, which `--only` repeats.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from conversations import NOISE, Piece, mutate, split, valid_pieces
from resources import DESCRIPTORS, descriptors_open, resident_bytes

from perfkit.channel.borrowing import BodyMemory
from perfkit.channel.core import Core, Limits
from perfkit.channel.events import Event, Fetched, Forgotten, Mapped, Message, Released
from perfkit.channel.frames import BYTES
from perfkit.channel.session import Session
from perfkit.errors import TransferError
from perfkit.transfer.arena import Arena

LIVE_SHARE = 0.02
WARM_SHARE = 0.2
"""What is used in the first part of a run is kept; from then on nothing may grow."""
MOST_GROWTH_BYTES = 48 * 2**20
"""Beyond what is kept for the next bodies: allocators return memory in their own time."""
MOST_CRASHES_SHOWN = 5


@dataclasses.dataclass
class Figures:
    """What a run counts."""

    frames: int = 0
    conversations: int = 0
    refused: int = 0
    events: int = 0
    crashes: int = 0
    hangs: int = 0
    growth_bytes: int = 0
    fds_grown: int = 0
    threads_grown: int = 0
    live_frames: int = 0
    good_answers: int = 0
    wrong_answers: int = 0
    seconds: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)

    def crashed(self, what: str) -> None:
        """An exception came out that should not."""
        self.crashes += 1
        if len(self.failures) < MOST_CRASHES_SHOWN:
            self.failures.append(f"{what}\n{traceback.format_exc()}")


MUST_BE_ZERO = ("crashes", "hangs", "growth_bytes", "fds_grown", "threads_grown", "wrong_answers")


# --- the core alone --------------------------------------------------------------------------------------------------


class Ends:
    """A core and what a shell would keep beside it; new for each conversation, on memory that all share."""

    bodies = BodyMemory()
    arena = Arena(2**20, region_bytes=2**20)

    def __init__(self, *, is_server: bool, requests: int, is_checked: bool) -> None:
        self._is_checked = is_checked
        limits = Limits(message_bytes=2**32, in_flight=64)
        self.core = Core(is_server=is_server, limits=limits, allocate=self.bodies.allocate)
        self.session = Session(self.arena, 2**20)
        if not is_server:
            self.core.hello({})
            for _ in range(requests):
                self.core.request(4)

    def feed(self, piece: Piece) -> int:
        """Hand bytes and descriptors over, and do with the events what a shell would; how many there were."""
        if piece.descriptors:
            self.core.descriptors_received([os.dup(DESCRIPTORS[sort]) for sort in piece.descriptors])
        data, count = memoryview(piece.data), 0
        while data:
            buffer = self.core.get_buffer()
            portion = data[: len(buffer)]
            assert len(buffer), "the core offers an empty buffer"
            buffer[: len(portion)] = portion
            del buffer  # a shell keeps none; and whether the memory is still viewed is counted
            for event in self.core.buffer_updated(len(portion)):
                count += 1
                self.take(event)
            data = data[len(portion) :]
        return count

    def take(self, event: Event) -> None:
        """As lanes and peers do."""
        if isinstance(event, Message):
            body, borrowed = self.session.borrow(event)
            assert len(body) == event.body_bytes
            if self._is_checked and event.carrier == BYTES:
                assert body == NOISE[: len(body)], "a body is not what was sent"
            del body
            if borrowed is not None:
                self.session.give_back(borrowed)
            if self.core.is_server:
                self.core.reply(event.request_id, 0)
        elif isinstance(event, Mapped | Forgotten | Released):
            self.session.handle(event)
        elif isinstance(event, Fetched):
            self.core.error(event.request_id, "reply", "ProtocolError", "nothing waits to be fetched")
        elif self.core.is_server and self.core.state == "greeting":
            self.core.welcome({})

    def close(self) -> None:
        """As the end of a connection does."""
        self.core.close()
        self.session.end()
        self.session.to_release.clear()


def run_core(number: int, seed: int, figures: Figures) -> None:
    """One conversation with a core."""
    chance = random.Random(f"{seed}-{number}")
    is_server, count = chance.random() < 0.5, chance.choice((2, 6, 12, 24))
    pieces = valid_pieces(chance, to_server=is_server, count=count)
    is_broken = chance.random() < 0.95  # the others must come through whole: else all of this proves little
    if is_broken:
        pieces = mutate(chance, pieces, keeps_greeting=chance.random() < 0.85)
    figures.frames += len(pieces)
    figures.conversations += 1
    ends = Ends(is_server=is_server, requests=count, is_checked=not is_broken)
    try:
        for piece in split(chance, pieces):
            figures.events += ends.feed(piece)
        ends.core.end_received()
    except TransferError:  # of it ProtocolError, NoRoomError for absurd sizes, and what a descriptor really is
        figures.refused += 1
        if not is_broken:
            figures.crashed(f"core, conversation {number} of seed {seed}: refused although it follows the rules")
    except Exception:  # noqa: BLE001 - what this looks for
        figures.crashed(f"core, conversation {number} of seed {seed}, {'server' if is_server else 'client'}")
    finally:
        ends.close()


# --- a whole run -----------------------------------------------------------------------------------------------------


def run(frames: int, seed: int, *, run_one: Callable[[int, int, Figures], None] = run_core) -> Figures:
    """All conversations with cores, then those with live peers."""
    figures, begun = Figures(), time.monotonic()
    core_frames, number, before = int(frames * (1 - LIVE_SHARE)), 0, None
    while figures.frames < core_frames:
        if before is None and figures.frames >= core_frames * WARM_SHARE:
            before = _used()
        run_one(number, seed, figures)
        number += 1
    _compare(figures, before or _used(), _used())
    if frames > core_frames and run_one is run_core:
        from live import run_live

        run_live(frames - core_frames, seed, figures)
    figures.seconds = round(time.monotonic() - begun, 1)
    return figures


def _used() -> tuple[int, int]:
    Ends.bodies.trim()
    gc.collect()
    return resident_bytes(), descriptors_open()


def _compare(figures: Figures, before: tuple[int, int], after: tuple[int, int]) -> None:
    growth_bytes = after[0] - before[0]
    figures.growth_bytes += growth_bytes if growth_bytes > MOST_GROWTH_BYTES else 0
    figures.fds_grown += max(0, after[1] - before[1])


def to_text(figures: dict[str, Any]) -> str:
    """The table that people read."""
    lines = [f"{name:16} {value:>12,}" for name, value in figures.items() if isinstance(value, int | float)]
    return "\n".join([*lines, *figures["failures"]])


def main() -> None:
    """Run, print, and exit with 1 when something came out that should not."""
    parser = argparse.ArgumentParser(description="Send broken and hostile frames; count what comes of it.")
    parser.add_argument("--frames", type=int, default=int(os.environ.get("FUZZ_FRAMES", "50000")))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--only", type=int, help="only this conversation of the seed, with a core")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    if arguments.only is not None:
        figures = Figures()
        run_core(arguments.only, arguments.seed, figures)
    else:
        figures = run(arguments.frames, arguments.seed)
    plain = {**dataclasses.asdict(figures), "seed": arguments.seed}
    plain["ok"] = not any(plain[name] for name in MUST_BE_ZERO)
    print(json.dumps(plain) if arguments.json else to_text(plain))
    sys.exit(0 if plain["ok"] else 1)


if __name__ == "__main__":
    main()
