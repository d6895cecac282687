"""What the tests of the recorder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine import Engine
from perfkit.engine.decision import Decision
from perfkit.engine.recording import Recorder
from perfkit.journal.reading import decode_body, list_slots, open_slot


@pytest.fixture(scope="session")
def decision() -> Decision:
    return Engine.load("no-such-folder/perfkit.toml").decide(4096, pool="default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[..., Recorder]]:
    """A recorder with a journal in `folder`, closed with the test."""
    made: list[Recorder] = []

    def make_one(journal: Path | None = folder, **settings: Any) -> Recorder:
        made.append(Recorder(RecorderSettings(**{"decision_share": 0.0, **settings}), journal))
        return made[-1]

    yield make_one
    for recorder in made:
        recorder.close()


@pytest.fixture(scope="session")
def rows_in() -> Callable[..., list[dict[str, Any]]]:
    """All rows of a table that wait in a folder, with ``slot``, ``epoch`` and ``sequence``."""

    def read(folder: Path, table: str = "transfers") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for slot in list_slots(folder):
            with open_slot(slot.path) as reader:
                for batch in reader.batches(table):
                    columns = {name: column.to_list() for name, column in decode_body(batch.body).items()}
                    for index in range(batch.rows):
                        place = {"slot": slot.name, "epoch": batch.epoch, "sequence": batch.first_sequence + index}
                        rows.append({**place, **{name: values[index] for name, values in columns.items()}})
        return rows

    return read
