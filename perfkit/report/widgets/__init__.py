"""Pictures with controls, for JupyterLab and Voila; in a report each is its first picture.

They hold no logic: a control changes an argument, and the same functions of `perfkit.report.charts` draw again.
"""

from __future__ import annotations

from perfkit.report.widgets.analysis import explore_profile, explore_stages, explore_tails
from perfkit.report.widgets.explorer import Explorer, View
from perfkit.report.widgets.latency import explore_latency

__all__ = ["Explorer", "View", "explore_latency", "explore_profile", "explore_stages", "explore_tails"]
