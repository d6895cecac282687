"""What the host has left, and what state that is for the engine. Standard library only, no threads of its own."""

from __future__ import annotations

from perfkit.engine.resources.arenas import ArenaHandle, ArenaProbe
from perfkit.engine.resources.monitor import Look, ResourceMonitor
from perfkit.engine.resources.outlook import CapacityWarning
from perfkit.engine.resources.readings import Reader, Reading
from perfkit.engine.resources.states import StateStatistics

__all__ = [
    "ArenaHandle",
    "ArenaProbe",
    "CapacityWarning",
    "Look",
    "Reader",
    "Reading",
    "ResourceMonitor",
    "StateStatistics",
]
