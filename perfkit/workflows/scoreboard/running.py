"""Run the entries of the scoreboard: the same figures from a seed, whatever the number of processes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import itertools
import json
import multiprocessing
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, UnknownNameError
from perfkit.workflows.scoreboard.claims import Entry, Run
from perfkit.workflows.scoreboard.entries import ENTRIES
from perfkit.workflows.scoreboard.labelled import labelled_entry
from perfkit.workflows.scoreboard.result import Failure, Figure, Scoreboard

__all__ = ["ScoreboardProgress", "scoreboard"]

Floats = npt.NDArray[np.float64]

_PIECE_S = 1.0
"""What a piece of work takes, roughly: so long is the wait when somebody interrupts."""
_WORTH_PROCESSES_S = 5.0
"""Work that is worth the two seconds in which processes start."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreboardProgress:
    """How far the scoreboard has come.

    Args:
        done: seconds of work that are done, as estimated beforehand.
        total: seconds of work in all.
        label: entry that was worked on last.
        seconds_left: until the end; None at the beginning.
    """

    done: float
    total: float
    label: str
    seconds_left: float | None


def scoreboard(
    *,
    full: bool = False,
    only: Sequence[str] = (),
    seed: int = 1,
    runs: int | None = None,
    labelled: str | Path | None = None,
    output: str | Path | None = None,
    processes: int | None = None,
    progress: Callable[[ScoreboardProgress], None] | None = None,
) -> Scoreboard:
    """Re-run every statistic on worlds whose truth is known, and hold its error rates against their targets.

    Args:
        full: as many runs as a rate needs to be claimed (10 000 for most); minutes instead of seconds.
        only: entries to run, by name; without any, all.
        seed: of all worlds. The figures depend on nothing else.
        runs: of every entry, at most as many as it has with `full`; None takes the entry's own number.
        labelled: folder with series that somebody labelled, see `perfkit.workflows.scoreboard.labelled`.
        output: file that gets the scoreboard as JSON, anew after every entry.
        processes: that share the work; None takes one per core.
        progress: called after every piece of work.

    Returns:
        Figures with n, interval and verdict. An entry that raises an error is a failure; the others go on.

    Raises:
        UnknownNameError: there is no such entry.
        InputError: a number is out of range, or the folder has no labels.

    >>> board = scoreboard(only=["sample-ratio"], runs=20, processes=1)
    >>> [figure.n for figure in board.figures]
    [20, 20]
    """
    for name, number in (("runs", runs), ("processes", processes)):
        if number is not None and number < 1:
            raise InputError(f"{name} == {number}, must be 1 or more")
    if seed < 0:
        raise InputError(f"seed == {seed}, must be 0 or more")
    planned = _chosen(only, labelled, full=full, runs=runs)
    board = _Board(planned, seed, full, None if output is None else Path(output), progress)
    alone = [one for one in planned if one.entry.is_measurement]
    _one_by_one(board, [piece for one in alone for piece in one.pieces()])
    pieces = [piece for one in planned if one not in alone for piece in one.pieces()]
    if processes == 1 or sum(piece.estimated_s for piece in pieces) < _WORTH_PROCESSES_S:
        _one_by_one(board, pieces)
    else:
        _in_processes(board, pieces, processes or os.cpu_count() or 1)
    return board.result()


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """Some runs of an entry: what a process is given to do."""

    entry: str
    run: Run
    start: int
    stop: int
    estimated_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Planned:
    """An entry with the number of its runs."""

    entry: Entry
    runs: int

    def pieces(self) -> Iterator[_Piece]:
        size = max(1, round(_PIECE_S / self.entry.run_s))
        for start, stop in itertools.pairwise([*range(0, self.runs, size), self.runs]):
            yield _Piece(self.entry.name, self.entry.run, start, stop, (stop - start) * self.entry.run_s)


def _chosen(only: Sequence[str], labelled: str | Path | None, *, full: bool, runs: int | None) -> list[_Planned]:
    known = [*ENTRIES, *([] if labelled is None else [labelled_entry(Path(labelled))])]
    names = [entry.name for entry in known]
    for name in only:
        if name not in names:
            raise UnknownNameError("entry of the scoreboard", name, names)
    planned = []
    for entry in known:
        number = entry.full_runs if full else entry.small_runs
        if entry.name in only:  # asked for by name: with one run rather than not at all
            number = max(number, 1)
        if number and (not only or entry.name in only):
            planned.append(_Planned(entry, number if runs is None else min(runs, entry.full_runs)))
    return planned


def _one_by_one(board: _Board, pieces: Sequence[_Piece]) -> None:
    for piece in pieces:
        if not board.has_failed(piece.entry):
            board.take(piece, *_attempt(piece, board.seed))


def _attempt(piece: _Piece, seed: int) -> tuple[dict[str, Floats], float, str]:
    """The figures of some runs, the seconds that they took, and what went wrong."""
    began = time.process_time()
    found: list[Mapping[str, npt.ArrayLike]] = []
    try:
        for number in range(piece.start, piece.stop):
            # As SeedSequence.spawn would number them: independent of the pieces and of the other entries.
            own = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(piece.entry.encode()), number))
            found.append(piece.run(int(own.generate_state(1)[0])))
    except Exception as error:  # noqa: BLE001  whatever a statistic raises, the others go on, and it is named
        return {}, time.process_time() - began, f"run {piece.start + len(found)}: {type(error).__name__}: {error}"
    columns = {name: np.concatenate([np.atleast_1d(one[name]) for one in found]).astype(float) for name in found[0]}
    return columns, time.process_time() - began, ""


def _in_processes(board: _Board, pieces: Sequence[_Piece], processes: int) -> None:
    # Fresh processes: a fork would copy the threads' locks of whoever calls this.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _ignore_interrupts) as pool:
        # A few ahead: enough to keep all busy, and few to drop when an entry fails or somebody interrupts.
        waiting = iter(pieces)
        running: dict[concurrent.futures.Future[tuple[dict[str, Floats], float, str]], _Piece] = {}
        try:
            while True:
                for piece in itertools.islice(waiting, 2 * processes - len(running)):
                    if not board.has_failed(piece.entry):
                        running[pool.submit(_attempt, piece, board.seed)] = piece
                if not running:
                    break
                for one in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                    board.take(running.pop(one), *one.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the first one tells the others to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Board:
    """Takes what pieces say, and knows which entries are complete."""

    def __init__(
        self,
        planned: Sequence[_Planned],
        seed: int,
        full: bool,
        output: Path | None,
        progress: Callable[[ScoreboardProgress], None] | None,
    ) -> None:
        self.seed = seed
        self._entries = {one.entry.name: one.entry for one in planned}
        self._planned = {one.entry.name: one.runs for one in planned}
        self._full, self._output, self._progress = full, output, progress
        self._parts: dict[str, dict[int, dict[str, Floats]]] = {name: {} for name in self._entries}
        self._runs = dict.fromkeys(self._entries, 0)
        self._seconds = dict.fromkeys(self._entries, 0.0)
        self._figures: dict[str, tuple[Figure, ...]] = {}
        self._failures: dict[str, Failure] = {}
        self._began, self._done = time.monotonic(), 0.0

    def has_failed(self, name: str) -> bool:
        return name in self._failures

    def take(self, piece: _Piece, columns: dict[str, Floats], seconds: float, message: str) -> None:
        name, entry = piece.entry, self._entries[piece.entry]
        self._seconds[name] += seconds
        self._done += piece.estimated_s
        if message:
            self._failures.setdefault(name, Failure(name, message))
        else:
            self._parts[name][piece.start] = columns
            self._runs[name] += piece.stop - piece.start
        if self._runs[name] == self._planned[name] and not self.has_failed(name):
            parts = [self._parts[name][start] for start in sorted(self._parts[name])]
            whole = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
            self._figures[name] = tuple(claim.figure(name, whole) for claim in entry.claims)
        if self._output is not None and (message or name in self._figures):
            self._write(self._output)
        if self._progress is not None:
            self._progress(self._how_far(name))

    def result(self) -> Scoreboard:
        figures = tuple(figure for name in self._entries for figure in self._figures.get(name, ()))
        failures = tuple(self._failures[name] for name in self._entries if name in self._failures)
        now = datetime.datetime.now(datetime.UTC)
        return Scoreboard(
            figures=figures,
            failures=failures,
            titles={name: entry.title for name, entry in self._entries.items()},
            seconds={name: round(seconds, 3) for name, seconds in self._seconds.items()},
            seed=self.seed,
            is_full=self._full,
            recorded_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            fingerprint=collect_fingerprint(),
        )

    def _how_far(self, label: str) -> ScoreboardProgress:
        total = sum(self._planned[name] * entry.run_s for name, entry in self._entries.items())
        left = (time.monotonic() - self._began) * (total - self._done) / self._done if self._done else None
        return ScoreboardProgress(self._done, total, label, left)

    def _write(self, path: Path) -> None:
        """Anew and at once, so that whoever reads it sees a whole one."""
        beside = path.with_name(f"{path.name}.tmp")
        beside.write_text(json.dumps(self.result().to_plain(), indent=1, allow_nan=False) + "\n", "utf-8")
        beside.replace(path)
