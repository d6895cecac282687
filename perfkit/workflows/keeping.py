"""Keep observations while they are being measured: durable in the journal at once, then moved into the lake."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from perfkit.errors import LakeError
from perfkit.journal import Journal, open_journal
from perfkit.lake import drain, journal_folder
from perfkit.schema import PRODUCER_COLUMNS

__all__ = ["ObservationKeeper", "keep_observations"]

_MAX_JOURNAL_BYTES = 2**32
"""A lake that cannot be written to for the whole of a long run must not cost what was measured."""


@dataclasses.dataclass
class ObservationKeeper:
    """Appends observations to the journal beside a lake and drains it; `keep_observations` makes one.

    Args:
        lake: folder of the lake.
        journal: where the observations become durable.
        undrained: why the last drain failed; empty when it did not.
    """

    lake: Path
    journal: Journal
    undrained: str = ""

    def keep(self, observations: pa.Table) -> None:
        """Make observations durable, all of them or none.

        Args:
            observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; those with a default may be left out.

        Raises:
            JournalError: they could not be made durable; none was kept.
        """
        if not len(observations):
            return
        given = [name for name in observations.column_names if name not in _WRITTEN_BY_DRAIN]
        self.journal.append("transfers", {name: _values(observations.column(name)) for name in given})
        try:
            drain(self.lake)
        except LakeError as error:  # durable they are: the next drain moves them
            self.undrained = str(error)
        else:
            self.undrained = ""


_WRITTEN_BY_DRAIN = frozenset(column.name for column in PRODUCER_COLUMNS)


def _values(column: pa.ChunkedArray) -> list[object]:
    if pa.types.is_timestamp(column.type):
        # The journal takes whole microseconds since 1970: no datetime has to be made of each.
        column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    values: list[object] = column.to_pylist()
    return values


@contextlib.contextmanager
def keep_observations(lake: str | Path) -> Iterator[ObservationKeeper]:
    """Hold a slot of the journal beside a lake for as long as something is measured.

    Args:
        lake: folder of the lake.

    Raises:
        JournalError: the journal cannot be written to.
    """
    with open_journal(journal_folder(lake), max_bytes=_MAX_JOURNAL_BYTES) as journal:
        yield ObservationKeeper(Path(lake), journal)
