"""The resources of an engine: one look at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine.resources.arenas import ArenaHandle, ArenaProbe
from perfkit.engine.resources.outlook import CapacityWarning, Outlook
from perfkit.engine.resources.readings import Reader, Reading
from perfkit.engine.resources.states import StateStatistics, StateTracker

__all__ = ["Look", "ResourceMonitor"]


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What one look found.

    Args:
        state: the state from now on, one of `perfkit.config.engine_settings.RESOURCE_STATES`.
        changed_from: the state before, where this look changed it; else None.
        reading: the figures.
        warnings: limits that are near; in every look for which they hold, so that the caller limits what it says.
    """

    state: str
    changed_from: str | None
    reading: Reading
    warnings: tuple[CapacityWarning, ...]

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)


class ResourceMonitor:
    """Looks at the resources when it is told to; it has no thread. For one thread, but `add_arena` is for any.

    Args:
        settings: limits, and whether states follow from them; warnings do in any case.
        reader: reads the figures; by default this machine's.

    >>> monitor = ResourceMonitor(ResourceSettings())
    >>> monitor.look().changed_from is None
    True
    """

    def __init__(self, settings: ResourceSettings, reader: Reader | None = None) -> None:
        self._reader = Reader() if reader is None else reader
        self._tracker, self._outlook = StateTracker(settings), Outlook(settings)
        self._free_bytes: int | None = None

    def use(self, settings: ResourceSettings) -> None:
        """Follow other settings from the next look on; arenas, counts and trends stay."""
        self._tracker.use(settings)
        self._outlook.use(settings)

    def add_arena(self, probe: ArenaProbe) -> ArenaHandle:
        """Ask an arena in each look; see `Arenas.add`."""
        return self._reader.add_arena(probe)

    def look(self) -> Look:
        """Read the figures and judge them. Raises nothing."""
        reading, before = self._reader.read(), self._tracker.state
        self._free_bytes = reading.memory_free_bytes
        state = self._tracker.update(reading)
        return Look(state, before if state != before else None, reading, self._outlook.update(reading))

    def free_bytes(self) -> int | None:
        """Memory that was left in the last look; None before it. For any thread."""
        return self._free_bytes

    def statistics(self) -> StateStatistics:
        """Time in each state, changes, and the cause of the last one."""
        return self._tracker.statistics()
