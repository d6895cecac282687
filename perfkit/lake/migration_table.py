"""Migrate one table in one commit, and compare what it held before with what it holds afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import LakeError
from perfkit.lake.checkpoints import checkpoint, table_path
from perfkit.lake.delta import mark_schema, table_properties, table_schema_version
from perfkit.lake.durability import sync_table
from perfkit.lake.migration_result import Check, MigratedTable
from perfkit.lake.migration_steps import STEPS
from perfkit.lake.rewriting import replace_rows, rewriting, table_at
from perfkit.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["migrate_table", "needs_settling", "settle_table"]

_ROWS = "rows"


def migrate_table(path: Path, schema: pyarrow.Schema) -> MigratedTable:
    """Rewrite a table with today's columns in one commit, a batch of rows at a time.

    Args:
        path: folder of a table of an older schema; its name is that of the table.
        schema: the columns of today.

    Returns:
        What was compared: the number of rows, and for every column that stays its nulls and its sum (of text: its
        length).

    Raises:
        LakeError: a figure changed, the disk refused, or another process wrote to the table. The table holds what it
            held: before the commit nothing was changed, after it the version before is restored. Where the message says
            that this failed, too, go back to the backup. Also as `settle_table`.
    """
    import pyarrow as pa

    table = table_at(path)
    version, marked = table_schema_version(table), mark_schema(schema)
    rewrite, version_before = _Rewrite(table, version, marked), int(table.version())
    try:
        reader = pa.RecordBatchReader.from_batches(marked, rewrite.batches())
        replace_rows(table, reader, predicate=None, marks={}, new_schema=True)
    except LakeError as error:
        raise rewrite.failure or error from error
    try:
        checks = _compare(rewrite.before, _totals_of(table, rewrite.columns))
        _refuse_changes(path, checks, "was written differently than it was read")
    except (LakeError, OSError, pa.ArrowException) as error:
        _restore(table, version_before, error)
        raise LakeError(f"{error}; version {version_before} of table {path} was restored") from error
    settle_table(table, marked)
    return MigratedTable(path.name, version, SCHEMA_VERSION, rewrite.before[_ROWS], checks)


class _Rewrite:
    """The rows of a table on their way from one schema to the next, counted on both sides."""

    def __init__(self, table: DeltaTable, version: int, schema: pyarrow.Schema) -> None:
        self.table, self.version, self.schema = table, version, schema
        names = {field.name for field in table.schema().fields}
        self.columns = [name for name in schema.names if name in names]
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self.failure: LakeError | None = None

    def batches(self) -> Iterator[pyarrow.RecordBatch]:
        """Migrated batches. What is raised here keeps the commit from happening; the reason is kept in `failure`."""
        import pyarrow as pa

        path = table_path(self.table).name
        try:
            for batch in _stored(self.table):
                rows = pa.Table.from_batches([batch])
                self.before.update(_totals(rows, self.columns))
                rows = _at_version(rows, path, self.version).select(self.schema.names).cast(self.schema)
                self.after.update(_totals(rows, self.columns))
                yield from rows.to_batches()
            _refuse_changes(path, _compare(self.before, self.after), "would not hold what it held")
        except LakeError as error:
            self.failure = error
            raise
        except pa.ArrowException as error:
            self.failure = LakeError(
                f"table {path} cannot be migrated from schema version {self.version}: {error}; nothing was changed. "
                "Report it with this message"
            )
            raise self.failure from error


def _stored(table: DeltaTable) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.dataset as ds

    files = table.file_uris()
    if files:
        yield from ds.dataset(files, format="parquet").to_batches()


def _at_version(rows: pyarrow.Table, name: str, version: int) -> pyarrow.Table:
    for step_version in range(version, SCHEMA_VERSION):
        step = STEPS.get((name, step_version))
        rows = rows if step is None else step(rows)
    return rows


def _totals(rows: pyarrow.Table, columns: list[str]) -> dict[str, int]:
    """What must stay the same: rows, and by column its nulls and its sum, or its length where it is text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    totals = {_ROWS: rows.num_rows}
    for name in columns:
        column = rows.column(name)
        totals[f"nulls of {name}"] = column.null_count
        kind = column.type
        if pa.types.is_string(kind):
            totals[f"length of {name}"] = pc.sum(pc.binary_length(column)).as_py() or 0
        elif pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
            exact = column.cast(pa.int64()).cast(pa.decimal128(38))  # moments in microseconds add up to over 2^63
            totals[f"sum of {name}"] = int(pc.sum(exact).as_py() or 0)
    return totals


def _totals_of(table: DeltaTable, columns: list[str]) -> Counter[str]:
    import pyarrow as pa

    totals: Counter[str] = Counter()
    for batch in _stored(table):
        totals.update(_totals(pa.Table.from_batches([batch]), columns))
    return totals


def _compare(before: Counter[str], after: Counter[str]) -> tuple[Check, ...]:
    return tuple(Check(name, before[name], after[name]) for name in {_ROWS: 0, **before, **after})


def _refuse_changes(path: Path | str, checks: tuple[Check, ...], what: str) -> None:
    changed = [f"{check.name}: {check.before:,} before, {check.after:,} after" for check in checks if not check.holds]
    if changed:
        raise LakeError(f"table {path} {what}: {'; '.join(changed)}. Report it with this message")


def _restore(table: DeltaTable, version: int, reason: Exception) -> None:
    from deltalake import CommitProperties

    try:
        with rewriting(table_path(table)):
            table.restore(
                version,
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=_hooks_off(),
            )
        sync_table(table)
    except LakeError as error:
        raise LakeError(
            f"{reason}; version {version} could not be restored: {error}. Do not use this table: go back to the backup"
        ) from error


def needs_settling(table: DeltaTable, schema: pyarrow.Schema) -> bool:
    """Whether a migration was killed after it had committed the rows of a table, and before `settle_table` was done."""
    properties = table.metadata().configuration
    wanted = table_properties(schema)
    return table_schema_version(table) == SCHEMA_VERSION and any(
        properties.get(name) != value for name, value in wanted.items()
    )


def settle_table(table: DeltaTable, schema: pyarrow.Schema) -> None:
    """Make a migrated table durable, and give it the properties that a new one would have.

    Raises:
        LakeError: the disk refused; the rows are migrated, and running the migration again does the rest.
    """
    sync_table(table)  # before the properties, which say that it was done
    with rewriting(table_path(table)):
        table.alter.set_table_properties(
            table_properties(schema),
            post_commithook_properties=_hooks_off(),
        )
        checkpoint(table)
    sync_table(table)


def _hooks_off() -> Any:
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
