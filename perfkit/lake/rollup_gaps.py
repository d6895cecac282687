"""What rollups lack, to be told: transfers without a time, and those that came after their day was frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfkit.lake.rollup_expressions import ROLLED_UP_BY, dated, day_of
from perfkit.tables import plural

if TYPE_CHECKING:
    import ibis

__all__ = ["left_out"]


def left_out(transfers: ibis.Table, rollups: ibis.Table, frozen: Sequence[int]) -> tuple[str, ...]:
    """What the rollups lack, of frozen days that do not add up to their rows."""
    undated = int(transfers.filter(transfers.observed_at.isnull()).count().to_pyarrow().as_py())
    late = _late(transfers, rollups, frozen) if frozen else 0
    warnings = []
    if undated:
        warnings.append(f"{plural(undated, 'transfer')} without a time: in no rollup, and never too old to be kept")
    if late:
        warnings.append(f"{plural(late, 'transfer')} came after their day was frozen: in no rollup")
    return tuple(warnings)


def _late(transfers: ibis.Table, rollups: ibis.Table, frozen: Sequence[int]) -> int:
    """How many transfers of frozen days are in no rollup.

    The rows of services were deleted when their day was frozen: those that are there came late. Of runs, rows may be
    left because they are pinned, and these were counted: late is what goes beyond the rollup of the same minute and
    group. Where such a rollup also counted rows that were deleted, this is fewer than came.
    """
    import ibis

    timed = dated(transfers)
    found = timed.filter(day_of(timed.observed_at).isin(frozen))
    is_service = found.run_id == ""
    late_of_services = int(is_service.sum().to_pyarrow().as_py() or 0)
    of_runs = found.filter(~is_service)
    present = of_runs.mutate(minute=of_runs.observed_at.truncate("minute"), counted=ibis.literal(1, "int64"))
    rolled_up = rollups.filter(day_of(rollups.minute).isin(frozen))
    rolled_up = rolled_up.mutate(counted=-(rolled_up.transfers + rolled_up.failures))
    columns = [*ROLLED_UP_BY, "counted"]
    rolled_up = rolled_up.select(columns)
    both = present.select(columns).cast(rolled_up.schema()).union(rolled_up)
    groups = both.group_by(list(ROLLED_UP_BY)).agg(beyond=both.counted.sum().cast("int64"))
    late_of_runs = groups.filter(groups.beyond > 0).beyond.sum().to_pyarrow().as_py()
    return late_of_services + int(late_of_runs or 0)
