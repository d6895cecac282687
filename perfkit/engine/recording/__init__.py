"""Record what became of decisions: taken within a microsecond, told to the engine, written to the journal."""

from __future__ import annotations

from perfkit.engine.recording.recorder import Recorder
from perfkit.engine.recording.rows import Outcome
from perfkit.engine.recording.statistics import RecorderStatistics

__all__ = ["Outcome", "Recorder", "RecorderStatistics"]
