"""A file of a report is whole or not there, and what is to survive a power cut reaches the disk with its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from perfkit.report.whole_files import write_whole


def test_a_durable_file_and_then_its_name_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    path = tmp_path / "run.json"

    def fsync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, "whole")
    assert synced == [(False, False), (True, True)]
    write_whole(path, "again", durable=False)
    assert len(synced) == 2
    assert path.read_text() == "again"
