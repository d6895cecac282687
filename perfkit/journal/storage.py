"""The SQLite file of a slot: batches by table and position, and what became of every epoch.

Write-ahead log with ``synchronous=FULL``: a commit has reached the disk when it returns. Every table of rows has a
table of its own here, so that neither an index nor a scan over foreign batches is needed. The file is opened by SQLite
only: POSIX takes all of a process's locks on a file away when any descriptor of it is closed.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from perfkit.errors import JournalError
from perfkit.journal.batches import Batch, EncodedBatch, EpochState
from perfkit.schema import SCHEMA_VERSION

__all__ = [
    "FORMAT_VERSION",
    "commit_batches",
    "connect",
    "count_rows",
    "forget_lossless_epochs",
    "last_numbers",
    "live_bytes",
    "read_batches",
    "stored_epochs",
    "stored_tables",
    "trim_batches",
    "write_epoch",
]

FORMAT_VERSION = 1
"""1: batches by table, epochs."""

_APPLICATION_ID = int.from_bytes(b"pkjr", "big")
_BUSY_TIMEOUT_S = 5.0
_MAX_LOG_BYTES = 8 * 2**20
_TRIM_BATCHES = 64
_PREFIX = "batches_"
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file of a slot; make it when it does not exist and may be written.

    Raises:
        JournalError: a newer perfkit wrote it, or it is no journal.
        sqlite3.Error: it is damaged, or the disk or the folder does not allow it.
    """
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_format(connection, path)
        if not read_only:
            _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application_id not in (0, _APPLICATION_ID):
        raise JournalError(f"{path} is an SQLite file of another program; move it out of the journal's folder")
    if version > FORMAT_VERSION:
        raise JournalError(
            f"journal slot {path} has format {version}, this perfkit reads up to {FORMAT_VERSION}; install the perfkit "
            "that wrote it, or a newer one"
        )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
    if _pragma(connection, "user_version") == FORMAT_VERSION:
        return
    with _transaction(connection):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS epochs (epoch INTEGER PRIMARY KEY, accepted INTEGER NOT NULL, committed INTEGER"
            " NOT NULL, dropped INTEGER NOT NULL, is_open INTEGER NOT NULL, last_position INTEGER NOT NULL)"
        )
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing.

    An exception that is not SQLite's (Ctrl-C, say) may arrive after the commit took place: then it stays committed and
    `sqlite3.Connection.in_transaction` is false. Who must know looks at what is stored.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def commit_batches(
    connection: sqlite3.Connection, batches: Sequence[tuple[int, int, EncodedBatch]], state: EpochState
) -> None:
    """Make batches durable in one transaction, together with the figures of their epoch.

    Args:
        connection: from `connect`.
        batches: position, first sequence and rows of each, ascending.
        state: figures of the epoch once this commit is done.

    Raises:
        sqlite3.Error: nothing was committed.
    """
    last_position = batches[-1][0]
    with _transaction(connection):
        for position, first_sequence, batch in batches:
            row = (position, state.epoch, SCHEMA_VERSION, first_sequence, batch.rows, batch.body)
            insert = f'INSERT INTO "{_PREFIX}{batch.table}" VALUES (?, ?, ?, ?, ?, ?)'
            try:
                connection.execute(insert, row)
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                _make_table(connection, batch.table)
                connection.execute(insert, row)
        _upsert_epoch(connection, state, last_position)


def _make_table(connection: sqlite3.Connection, table: str) -> None:
    connection.execute(
        f'CREATE TABLE "{_PREFIX}{table}" (position INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, schema_version INTEGER'
        " NOT NULL, first_sequence INTEGER NOT NULL, row_count INTEGER NOT NULL, body BLOB NOT NULL)"
    )


def write_epoch(connection: sqlite3.Connection, state: EpochState) -> None:
    """Store the figures of an epoch.

    Raises:
        sqlite3.Error: they were not stored.
    """
    with _transaction(connection):
        _upsert_epoch(connection, state, 0)


def _upsert_epoch(connection: sqlite3.Connection, state: EpochState, last_position: int) -> None:
    connection.execute(
        "INSERT INTO epochs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (epoch) DO UPDATE SET accepted = excluded.accepted,"
        " committed = excluded.committed, dropped = excluded.dropped, is_open = excluded.is_open,"
        " last_position = max(last_position, excluded.last_position)",
        (state.epoch, state.accepted, state.committed, state.dropped, state.is_open, last_position),
    )


def stored_epochs(connection: sqlite3.Connection) -> tuple[EpochState, ...]:
    """The epochs as they are stored, oldest first; ``lost`` is what they leave open.

    Raises:
        sqlite3.Error: they cannot be read.
    """
    if _pragma(connection, "user_version") == 0:
        return ()  # its producer is just making the tables, or was killed before it could
    query = "SELECT epoch, accepted, committed, dropped, is_open FROM epochs ORDER BY epoch"
    return tuple(
        EpochState(epoch, accepted, committed, dropped, max(0, accepted - committed - dropped), bool(is_open))
        for epoch, accepted, committed, dropped, is_open in connection.execute(query)
    )


def last_numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    """The last epoch and the last position that the file knows; 0 for none.

    Raises:
        sqlite3.Error: they cannot be read.
    """
    query = "SELECT coalesce(max(epoch), 0), coalesce(max(last_position), 0) FROM epochs"
    epoch, position = connection.execute(query).fetchone()
    return epoch, position


def live_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the pages that are in use: what waits to be drained.

    Raises:
        sqlite3.Error: they cannot be read.
    """
    # One statement: a thread that asks for the interpreter again after each one may wait for it every time.
    (live,) = connection.execute(
        "SELECT (page_count - freelist_count) * page_size"
        " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    return int(live)


def stored_tables(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Tables that have batches.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ? ORDER BY name"
    names = [name for (name,) in connection.execute(query, (len(_PREFIX), _PREFIX))]
    return tuple(
        name.removeprefix(_PREFIX)
        for name in names
        if connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() is not None
    )


def read_batches(connection: sqlite3.Connection, slot: str, table: str, after_position: int) -> Generator[Batch]:
    """The batches of a table behind a position, ascending.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if not _exists(connection, table):
        return
    query = (
        "SELECT position, epoch, schema_version, first_sequence, row_count, body"
        f' FROM "{_PREFIX}{table}" WHERE position > ? ORDER BY position'
    )
    cursor = connection.execute(query, (after_position,))
    try:
        for position, epoch, schema_version, first_sequence, rows, body in cursor:
            yield Batch(slot, table, position, epoch, schema_version, first_sequence, rows, body)
    finally:
        cursor.close()  # a cursor that is left half read keeps the log from being reused


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """Rows of the batches of a table.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if not _exists(connection, table):
        return 0
    (rows,) = connection.execute(f'SELECT coalesce(sum(row_count), 0) FROM "{_PREFIX}{table}"').fetchone()
    return int(rows)


def trim_batches(connection: sqlite3.Connection, up_to_position: Mapping[str, int]) -> None:
    """Delete batches at or below a position per table, a few at a time: a producer may wait to commit.

    Raises:
        sqlite3.Error: some may have been deleted, all of them covered by the positions.
    """
    for table, position in up_to_position.items():
        if not _exists(connection, table):
            continue
        name = f'"{_PREFIX}{table}"'
        delete = (
            f"DELETE FROM {name} WHERE position IN"
            f" (SELECT position FROM {name} WHERE position <= ? ORDER BY position LIMIT {_TRIM_BATCHES})"
        )
        deleted = _TRIM_BATCHES
        while deleted == _TRIM_BATCHES:
            with _transaction(connection):
                deleted = connection.execute(delete, (position,)).rowcount


def forget_lossless_epochs(connection: sqlite3.Connection) -> None:
    """Delete closed epochs of which every row was committed: there is nothing to tell about them.

    The newest stays: it knows the last numbers, and after a power cut the counter's page may not.

    Raises:
        sqlite3.Error: none was deleted.
    """
    with _transaction(connection):
        connection.execute(
            "DELETE FROM epochs WHERE NOT is_open AND accepted = committed"
            " AND epoch < (SELECT max(epoch) FROM epochs) AND last_position < (SELECT max(last_position) FROM epochs)"
        )


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    is_name = _TABLE_NAME.fullmatch(table) is not None
    return is_name and connection.execute(query, (f"{_PREFIX}{table}",)).fetchone() is not None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
