"""What the journal's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfkit.journal import Journal, open_journal
from perfkit.journal.reading import decode_body, list_slots, open_slot

SMALL = ("method", "payload_bytes", "latency_ns")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    with open_journal(folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def rows_in() -> Callable[..., list[tuple[str, int, int, Any]]]:
    """All rows that wait in a folder: slot, epoch, sequence, value of one column."""

    def read(folder: Path, table: str = "transfers", column: str = "latency_ns") -> list[tuple[str, int, int, Any]]:
        rows = []
        for slot in list_slots(folder):
            with open_slot(slot.path) as reader:
                for batch in reader.batches(table):
                    values = decode_body(batch.body)[column].to_list()
                    rows += [(slot.name, batch.epoch, batch.first_sequence + i, v) for i, v in enumerate(values)]
        return rows

    return read


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a fresh interpreter with `arguments` in ``sys.argv``."""

    def run(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **options}
        )

    return run
