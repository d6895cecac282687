"""The pictures of an analysis, to look around in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfkit.report.charts import profile_chart, stages_chart, tails_chart
from perfkit.report.notebook.analysis_verdicts import profile_verdict, stages_verdict, tails_verdict
from perfkit.report.theme import method_styles
from perfkit.report.widgets.controls import choice, size_range, some_of, toggle
from perfkit.report.widgets.explorer import Explorer, View
from perfkit.stats.quantiles import LEVELS, quantile_name
from perfkit.units import format_bytes
from perfkit.workflows.analyse_percentiles import Percentiles, Profile

if TYPE_CHECKING:
    from perfkit.workflows.analyse_result import Analysis

__all__ = ["explore_profile", "explore_stages", "explore_tails"]


def explore_tails(analysis: Analysis) -> Explorer:
    """How slow the slow transfers are, with controls for methods and for how far into the tail to look.

    Args:
        analysis: what `perfkit.analyse` returned, grouped by method.

    Returns:
        The explorer; in a report it is the picture of all methods.
    """
    methods = list(method_styles(str(one.group.get("method", "")) for one in analysis.percentiles))
    levels = {quantile_name(level): level for level in LEVELS[1:]}

    def draw(methods: Sequence[str], up_to: float) -> View:
        shown = [_up_to(one, up_to) for one in analysis.percentiles if one.group.get("method", "") in methods]
        return View(tails_chart(shown), tails_verdict(shown))

    controls = {
        "methods": some_of("methods", methods, "perfkit-methods"),
        "up_to": toggle("up to", levels, LEVELS[-1], "perfkit-level"),
    }
    return Explorer(controls, draw)


def explore_profile(analysis: Analysis) -> Explorer:
    """Median and p95 against size, with controls for sizes and methods.

    Args:
        analysis: what `perfkit.analyse` returned.

    Returns:
        The explorer; in a report it is the picture of all methods and sizes.
    """
    profile = analysis.profiles["size"]
    methods = list(method_styles(cell.group["method"] for cell in profile.cells))
    sizes = [2 ** cell.group["size_class"] for cell in profile.cells] or [1]

    def wanted(cell: Percentiles, sizes: tuple[float, float], methods: Sequence[str]) -> bool:
        return cell.group["method"] in methods and sizes[0] <= 2 ** cell.group["size_class"] <= sizes[1]

    def draw(sizes: tuple[float, float], methods: Sequence[str]) -> View:
        shown = Profile(profile.name, tuple(cell for cell in profile.cells if wanted(cell, sizes, methods)))
        return View(profile_chart(shown), profile_verdict(shown))

    return Explorer({"sizes": size_range(sizes), "methods": some_of("methods", methods, "perfkit-methods")}, draw)


def explore_stages(analysis: Analysis) -> Explorer:
    """What encoding, the way and decoding take of the time, with a control for the size of the payload.

    Args:
        analysis: what `perfkit.analyse` returned.

    Returns:
        The explorer; in a report it is the picture of payloads of 1 MiB, or of the size nearest to it.
    """
    sizes = sorted({one.payload_bytes for one in analysis.stage_shares})
    options: dict[str, int | None] = {format_bytes(size): size for size in sizes}
    first = next((one.payload_bytes for one in analysis.stages_at()), None)

    def draw(payload_bytes: int | None) -> View:
        shares = analysis.stages_at(payload_bytes)
        return View(stages_chart(shares), stages_verdict(shares))

    return Explorer({"payload_bytes": choice("payload", options or {"none": None}, first, "perfkit-payload")}, draw)


def _up_to(one: Percentiles, level: float) -> Percentiles:
    return dataclasses.replace(one, tail=tuple(tail for tail in one.tail if tail.q <= level))
