"""Where a series of measurements changed its level. Start at `change_points`."""

from perfkit.stats.change_points.detection import change_points
from perfkit.stats.change_points.result import ChangePoint, ChangePoints

__all__ = ["ChangePoint", "ChangePoints", "change_points"]
