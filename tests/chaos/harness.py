"""Kill writers and drainers at random moments; then count: `python tests/chaos/harness.py --rounds 200 [--json]`.

Every round forks two writers, one or two drainers and sometimes a reader on one journal and one lake, kills some of
them with SIGKILL after a random time, and lets the others finish. Writers append batches and offer single rows, or
record outcomes from several threads as a service does; what they are about to do and what they have done is noted in a
shared page, so that it is known after a kill. In the end everything is drained, and:

* every row of an append that returned is in the lake, once, with the values that it was given;
* an append that did not return is in the lake whole or not at all;
* no (producer, epoch, sequence) is in the lake twice;
* who reads the lake and what waits beside it, sees no row twice, and never fewer rows than before;
* per epoch, rows in the lake + rows reported lost + rows reported dropped are what was handed in, give or take the one
  call that was under way at the kill.

The process that forks uses neither Delta nor DuckDB itself: their threads would not survive a fork.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake  # noqa: F401 - loaded before forking: every child would take a second for it
import ibis  # noqa: F401
import numpy as np
import pandas  # noqa: F401
import pyarrow as pa

from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine import Engine
from perfkit.engine.recording import Recorder
from perfkit.errors import JournalError, LakeError
from perfkit.journal import open_journal
from perfkit.journal.reading import list_slots
from perfkit.lake import drain, journal_folder, open_lake
from perfkit.lake.draining import drain_unlocked

KINDS = ("writer", "drainer", "both of two drainers", "both of two drainers, no lock", "drainer, beside a reader")
WRITERS = 2
LONGEST_S = 0.35
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
STARTED, RETURNED = 0, 1
SMALL_JOURNAL_BYTES = 2**16


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a chaos run has its things."""

    folder: Path

    @property
    def lake(self) -> Path:
        """Folder of the lake."""
        return self.folder / "lake"

    @property
    def notes(self) -> Path:
        """What writers say of themselves: one file each, and a page of counts."""
        return self.folder / "notes"

    @property
    def stop(self) -> Path:
        """Exists when the children of a round are to finish."""
        return self.folder / "stop"

    @property
    def ready(self) -> Path:
        """A file for every drainer that is at work."""
        return self.folder / "ready"

    @property
    def failures(self) -> Path:
        """What no kill explains."""
        return self.folder / "failures"


# --- children --------------------------------------------------------------------------------------------------------


def fork(place: Place, work: Callable[[], None]) -> int:
    """Run `work` in a child, which dies with its parent; an exception of it is noted as a failure."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        if LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) or os.getppid() != parent:
            os._exit(1)
        work()
    except BaseException:  # noqa: BLE001 - noted, and told by the parent
        with place.failures.open("a") as file:
            file.write(traceback.format_exc())
    finally:
        os._exit(0)


def write(place: Place, seed: int) -> None:
    """Hand rows in until told to stop, or killed."""
    chance = random.Random(seed)
    if chance.random() < 0.4:
        record(place, chance)
    else:
        append_and_offer(place, chance)


def record(place: Place, chance: random.Random) -> None:
    """Record outcomes from threads, some of which end meanwhile but never all; small buffers drop the oldest."""
    settings = RecorderSettings(
        buffer_rows=chance.choice((20, 10_000)), flush_interval_ns=20_000_000, decision_share=0.0
    )
    decision = Engine.load(place.folder / "no-such-file.toml", background=False).decide(0)
    recorder = Recorder(settings, journal_folder(place.lake))
    assert recorder.start()
    journal = recorder._journal
    assert journal is not None
    page = shared_page(place.notes / f"{journal.slot}-{journal.epoch}.counts")
    adding = threading.Lock()

    def work(seed: int, ends: bool) -> None:
        pace = random.Random(seed)
        for _ in range(3 if ends else 10**9):
            if place.stop.exists():
                return
            count = pace.randint(1, 60)
            with adding:  # both numbers are sums over threads
                page[STARTED] += count
            for _ in range(count):
                recorder.record(decision, 0, 2)
            with adding:
                page[RETURNED] += count
            time.sleep(pace.random() * 0.008)

    endings = (False, *(chance.random() < 0.5 for _ in range(3)))  # who ends by itself cannot be killed
    threads = [threading.Thread(target=work, args=(chance.getrandbits(32), ends)) for ends in endings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()


def append_and_offer(place: Place, chance: random.Random) -> None:
    """Append batches and offer rows."""
    max_bytes = SMALL_JOURNAL_BYTES if chance.random() < 0.25 else 2**28
    with open_journal(journal_folder(place.lake), max_bytes=max_bytes, flush_interval_s=0.02) as journal:
        name = f"{journal.slot}-{journal.epoch}"
        page = shared_page(place.notes / f"{name}.counts")
        log = os.open(place.notes / f"{name}.appends", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        token = 0
        while not place.stop.exists():
            token, count = token + 1, chance.randint(1, 60)
            page[STARTED] += count
            os.write(log, f"started {token} {count} 0 0\n".encode())
            with contextlib.suppress(JournalError):  # the journal is full: dropped, and counted
                taken = journal.append(
                    "transfers", {"method": ["uds"] * count, "payload_bytes": token, "latency_ns": 1}
                )
                os.write(log, f"returned {token} {count} {taken[0]} {taken[-1]}\n".encode())
            page[RETURNED] += count
            for _ in range(chance.randint(0, 60)):
                page[STARTED] += 1
                writer.offer(("grpc", 0, 2))
                page[RETURNED] += 1
            time.sleep(chance.random() * 0.008)


def shared_page(path: Path) -> memoryview:
    """Numbers that survive the kill of their process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.truncate(descriptor, mmap.PAGESIZE)
    page = memoryview(mmap.mmap(descriptor, mmap.PAGESIZE)).cast("Q")
    os.close(descriptor)
    return page


def keep_draining(place: Place, has_lock: bool) -> None:
    """Drain until told to stop, or killed."""
    while not place.stop.exists():
        try:
            if has_lock:
                drain(place.lake, wait_s=0.05)
            else:
                drain_unlocked(place.lake, journal_folder(place.lake))
        except LakeError as error:
            if "is held by" not in str(error):
                raise
        (place.ready / str(os.getpid())).touch()
        time.sleep(0.002)


def keep_reading(place: Place) -> None:
    """Read what is in the lake and what waits beside it until told to stop; noted as a failure when rows are wrong."""
    before = 0
    while not place.stop.exists():
        rows = open_lake(place.lake, undrained=True).transfers.select("producer", "epoch", "producer_sequence")
        table = rows.to_pyarrow()
        started = sum(int(page_of(file)[STARTED]) for file in place.notes.glob("*.counts"))
        distinct = len(table.group_by(table.column_names).aggregate([]))
        assert before <= len(table) == distinct <= started, (
            f"a reader saw {len(table)} rows, {distinct} different ones, {before} before, {started} were handed in"
        )
        before = len(table)


# --- rounds ----------------------------------------------------------------------------------------------------------


def run_round(place: Place, kind: str, chance: random.Random) -> int:
    """One round; returns how many processes were killed."""
    place.stop.unlink(missing_ok=True)
    for file in place.ready.iterdir():
        file.unlink()
    drainers = 2 if "two" in kind else 1
    writers = [
        fork(place, lambda seed=seed: write(place, seed))  # type: ignore[misc]
        for seed in (chance.getrandbits(32) for _ in range(WRITERS))
    ]
    draining = [fork(place, lambda: keep_draining(place, "no lock" not in kind)) for _ in range(drainers)]
    readers = [fork(place, lambda: keep_reading(place))] if "reader" in kind else []
    if chance.random() < 0.75:  # else the kill may come before the first commit
        while len(list(place.ready.iterdir())) < drainers and not place.failures.exists():
            time.sleep(0.002)
    victims = [writers[0]] if kind == "writer" else draining
    for victim in chance.sample(victims, len(victims)):
        time.sleep(chance.random() * LONGEST_S / len(victims))
        os.kill(victim, signal.SIGKILL)
    place.stop.touch()
    statuses = {child: os.waitpid(child, 0)[1] for child in (*writers, *draining, *readers)}
    return sum(os.WIFSIGNALED(status) for status in statuses.values())


def run(rounds: int, seed: int) -> dict[str, Any]:
    """All rounds, the last drain, and the count."""
    chance, begun = random.Random(seed), time.monotonic()
    by_kind: dict[str, dict[str, int]] = {kind: {"rounds": 0, "kills": 0} for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="perfkit-chaos-") as folder:
        place = Place(Path(folder))
        place.notes.mkdir()
        place.ready.mkdir()
        for number in range(rounds):
            kind = KINDS[number % len(KINDS)]
            by_kind[kind]["kills"] += run_round(place, kind, chance)
            by_kind[kind]["rounds"] += 1
        seconds = time.monotonic() - begun
        os.waitpid(fork(place, lambda: conclude(place)), 0)
        failures = place.failures.read_text() if place.failures.exists() else ""
        figures = json.loads((place.folder / "figures").read_text()) if not failures else {}
    return {
        "rounds": rounds,
        "seed": seed,
        "seconds": round(seconds, 1),
        "by_kind": by_kind,
        **figures,
        "failures": failures,
    }


# --- counting --------------------------------------------------------------------------------------------------------


def conclude(place: Place) -> None:
    """Drain what is left, count, and leave the figures in a file."""
    while list_slots(journal_folder(place.lake)):
        drain(place.lake)
    lake = open_lake(place.lake)
    rows = lake.transfers.select("producer", "epoch", "producer_sequence", "method", "payload_bytes").to_pyarrow()
    events = lake.events.to_pyarrow().to_pylist()
    figures = count(place, rows, events)
    figures["commits"] = lake.versions()["transfers"]
    (place.folder / "figures").write_text(json.dumps(figures))


def count(place: Place, rows: pa.Table, events: list[dict[str, Any]]) -> dict[str, int]:
    """What should be there against what is there."""
    reported: dict[str, dict[str, int]] = defaultdict(lambda: {"lost": 0, "dropped": 0, "events": 0})
    for event in events:
        details = json.loads(event["details"])
        one = reported[f"{event['subject']}-{details['epoch']}"]
        one["lost"], one["dropped"] = details["lost"], details["dropped"]
        one[event["name"]] = one.get(event["name"], 0) + 1
    twice_told = sum(
        max(0, one.get(name, 0) - 1) for one in reported.values() for name in ("rows lost", "rows dropped")
    )
    figures = {"rows": len(rows), "lost": 0, "dropped": 0, "missing": 0, "double": 0, "torn": 0, "disagreeing": 0}
    figures["told_twice"] = twice_told
    in_lake = dict(by_epoch(rows))
    noted = {file.stem for file in place.notes.glob("*.counts")}
    none = np.empty(0, np.int64)
    # Also an epoch of which nothing arrived: it is the one that lost all its rows.
    for name in sorted(noted | in_lake.keys() | reported.keys()):
        epoch_rows = in_lake.get(name, {"producer_sequence": none, "payload_bytes": none})
        pass_epoch(place, name, epoch_rows, reported[name], figures)
    return figures


def by_epoch(rows: pa.Table) -> Iterator[tuple[str, dict[str, np.ndarray[Any, Any]]]]:
    """Sequences and tokens of the rows of every epoch that has some."""
    if not len(rows):
        return
    columns = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in rows.column_names}
    names = np.char.add(np.char.add(columns["producer"].astype(str), "-"), columns["epoch"].astype(str))
    order = np.argsort(names, kind="stable")
    found, begins = np.unique(names[order], return_index=True)
    parts = np.split(order, begins[1:])
    for name, part in zip(found, parts, strict=True):
        yield str(name), {key: columns[key][part] for key in ("producer_sequence", "payload_bytes")}


def pass_epoch(
    place: Place, name: str, rows: dict[str, Any], reported: dict[str, int], figures: dict[str, int]
) -> None:
    """Compare one epoch of one slot with the notes of its writer."""
    sequences, tokens = rows["producer_sequence"], rows["payload_bytes"]
    token_of = dict(zip(sequences.tolist(), tokens.tolist(), strict=True))
    figures["double"] += len(sequences) - len(token_of)
    started: dict[int, int] = {}
    log = place.notes / f"{name}.appends"  # missing where its writer was killed before it appended
    for line in log.read_text().splitlines() if log.exists() else ():
        what, token, size, first, last = line.split()[0], *map(int, line.split()[1:])
        started[token] = size
        if what == "returned":
            figures["missing"] += sum(token_of.get(number) != token for number in range(first, last + 1))
    there = dict(zip(*np.unique(tokens[tokens > 0], return_counts=True), strict=True))
    figures["torn"] += sum(int(there.get(token, 0)) not in (0, size) for token, size in started.items())
    page = page_of(place.notes / f"{name}.counts")
    handed_in = len(sequences) + reported["lost"] + reported["dropped"]
    figures["disagreeing"] += not page[RETURNED] <= handed_in <= page[STARTED]
    figures["lost"] += reported["lost"]
    figures["dropped"] += reported["dropped"]


def page_of(file: Path) -> np.ndarray[Any, Any]:
    """What a writer counted; nothing where it was killed before it could make the page."""
    content = file.read_bytes() if file.exists() else b""
    return np.frombuffer(content.ljust(mmap.PAGESIZE, b"\0"), np.uint64)


MUST_BE_ZERO = ("missing", "double", "torn", "disagreeing", "told_twice")


def to_text(figures: dict[str, Any]) -> str:
    """The table that people read."""
    lines = [f"{'killed':32} {'rounds':>7} {'kills':>7}"]
    lines += [f"{kind:32} {one['rounds']:>7} {one['kills']:>7}" for kind, one in figures["by_kind"].items()]
    if figures["failures"]:
        return "\n".join([*lines, "", "A process failed that nobody killed:", figures["failures"]])
    meaning = {
        "rows": "rows in the lake",
        "commits": "commits",
        "lost": "buffered rows lost with their process, reported",
        "dropped": "rows dropped by a full journal or buffer, told",
        "missing": "committed rows that are missing",
        "double": "rows that are there twice",
        "torn": "appends of which a part is there",
        "disagreeing": "epochs whose counter disagrees",
        "told_twice": "losses that were told twice",
    }
    lines += ["", *(f"{what:50} {figures[name]:>10,}" for name, what in meaning.items())]
    return "\n".join([*lines, f"{figures['rounds']} rounds in {figures['seconds']} s, seed {figures['seed']}"])


def main() -> None:
    """Run, print, and exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="Kill writers and drainers at random moments; then count.")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("CHAOS_ROUNDS", "15")))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    figures = run(arguments.rounds, arguments.seed)
    is_right = not figures["failures"] and not any(figures[name] for name in MUST_BE_ZERO)
    print(json.dumps({**figures, "ok": is_right}) if arguments.json else to_text(figures))
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
