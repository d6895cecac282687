"""Rows read in little memory are the rows; files that cannot be read are explained."""

from __future__ import annotations

import errno
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pytest

from perfkit.errors import LakeError
from perfkit.lake import open_lake
from perfkit.lake.reading import explained_reading, read_compact

MANY = 40_000


def test_text_comes_as_dictionaries_and_nothing_is_lost() -> None:
    columns = {
        "constant": ["it's"] * MANY,
        "few": ["a", "", None, 'b"'] * (MANY // 4),
        "never": pa.nulls(MANY, pa.string()),
        "many": [f"session {number}" for number in range(MANY)],
        "number": list(range(MANY)),
    }
    table = pa.table(columns)
    found = read_compact(ibis.duckdb.connect(), ibis.memtable(table))
    assert found.to_pylist() == table.to_pylist()
    assert {name for name in columns if pa.types.is_dictionary(found.schema.field(name).type)} == {"constant", "few"}


def test_a_constant_that_is_missing_in_some_rows_stays_missing_there() -> None:
    table = pa.table({"error": ["lost", None, "lost"]})
    assert read_compact(ibis.duckdb.connect(), ibis.memtable(table)).to_pylist() == table.to_pylist()


def test_an_order_is_kept() -> None:
    rows = ibis.memtable(pa.table({"number": [3, 1, 2], "name": ["c", "a", "b"]}))
    assert read_compact(ibis.duckdb.connect(), rows.order_by("number")).column("name").to_pylist() == ["a", "b", "c"]


def test_nothing_of_a_lake_without_tables_has_the_columns_of_a_table(tmp_path: Path) -> None:
    lake = open_lake(tmp_path / "none")
    assert lake.read(lake.transfers).schema.names == list(lake.transfers.columns)


def test_what_cannot_be_read_is_explained_in_one_line(tmp_path: Path) -> None:
    message = r"a file of lake .* cannot be read.*: no such disk\. Restore the folder"
    with pytest.raises(LakeError, match=message) as caught, explained_reading(tmp_path):
        raise OSError("\nno such\x00 disk\nat line 7")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (duckdb.OutOfMemoryException("could not allocate block\nmore"), "not enough memory .*could not allocate block"),
        (OSError(errno.EMFILE, "Too many open files"), "not enough file descriptors .*Too many open files"),
        (OSError(errno.ENOSPC, "No space left on device"), "not enough room on the disk"),
    ],
    ids=["memory", "descriptors", "disk"],
)
def test_a_shortage_is_not_called_damage(tmp_path: Path, error: Exception, said: str) -> None:
    """Nobody shall throw a good lake away for want of memory."""
    with pytest.raises(LakeError, match=said) as caught, explained_reading(tmp_path):
        raise error
    assert "is whole" in str(caught.value)
    assert "damaged" not in str(caught.value)
