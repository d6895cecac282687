"""Look after a lake: keep it small as the settings say, without taking from what is in force; bring it up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfkit.config.settings import read_settings
from perfkit.config.thresholds import load_thresholds
from perfkit.errors import ConfigError
from perfkit.lake import drain, open_lake
from perfkit.lake.maintenance import maintain
from perfkit.lake.maintenance_result import MaintenanceResult, UpkeepProgress
from perfkit.lake.migration import migrate
from perfkit.lake.migration_result import MigrationResult

__all__ = ["maintain_lake", "migrate_lake", "runs_in_force"]


def maintain_lake(
    lake: str | Path = "data/lake",
    *,
    settings: str | Path | None = "perfkit.toml",
    dry_run: bool = False,
    progress: Callable[[UpkeepProgress], None] | None = None,
) -> MaintenanceResult:
    """Drain the journal, roll up, and remove what the settings do not keep.

    Args:
        lake: folder of the lake.
        settings: `perfkit.toml` with the limits, `thresholds.toml` beside it names the runs in force; both may be
            missing. None takes the defaults and keeps no run but pinned ones.
        dry_run: only say what would be done; what waits in the journal is left out.
        progress: called before every table.

    Returns:
        What was done, by table.

    Raises:
        ConfigError: the settings or the thresholds cannot be read; nothing was removed.
        LakeError: the lake does not exist, is in use, of another schema, or cannot be written to. What was done until
            then is whole.
    """
    limits = read_settings(settings).lake
    in_force = () if settings is None else runs_in_force(Path(settings).with_name("thresholds.toml"))
    if not dry_run and Path(lake).is_dir():
        drain(lake)
    return maintain(
        open_lake(lake),
        keep_rows_days=limits.keep_rows_days,
        keep_rollups_days=limits.keep_rollups_days,
        keep_runs=in_force,
        dry_run=dry_run,
        progress=progress,
    )


def migrate_lake(
    lake: str | Path = "data/lake",
    *,
    dry_run: bool = False,
    progress: Callable[[UpkeepProgress], None] | None = None,
) -> MigrationResult:
    """Bring a lake that an older perfkit wrote to today's schema, with a backup beside it.

    Args:
        lake: folder of the lake.
        dry_run: rehearse on a copy, and leave the lake as it is.
        progress: called before every table.

    Returns:
        What was migrated, with the figures that were compared, and where the backup is.

    Raises:
        LakeError: as `perfkit.lake.migration.migrate`.
    """
    return migrate(open_lake(lake), dry_run=dry_run, progress=progress)


def runs_in_force(thresholds: Path) -> tuple[str, ...]:
    """The runs behind the thresholds in force; none where nothing is published.

    Raises:
        ConfigError: the file is broken: it is not known which runs it rests on.

    >>> runs_in_force(Path("a/folder/that/does/not/exist/thresholds.toml"))
    ()
    """
    try:
        return load_thresholds(thresholds).curves.evidence.runs
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return ()
        raise
