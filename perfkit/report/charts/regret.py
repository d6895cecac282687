"""Regret by size and strategy, one row of strategies per setting."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import polars as pl

from perfkit.report.charts.frame import finished, nothing_to_draw
from perfkit.report.charts.scales import times_axis
from perfkit.report.theme import method_styles
from perfkit.stats.regret import Regret
from perfkit.units import format_bytes
from perfkit.workflows.replay_result import ReplayResult, SettingResult

__all__ = ["regret_chart"]

_ROW_PIXELS = 32
_TUNED_COLOUR, _OTHER_COLOUR = "#CC79A7", "#8C8C8C"
_SMALLEST_FACTOR = 0.9
_SMALLEST_DOT = 9  # area in pixels


def regret_chart(replay: ReplayResult | None) -> alt.LayerChart:
    """One row per setting and strategy: its cost over the oracle's, with its interval, and a small dot per size decade.

    Args:
        replay: what `perfkit.replay` returned; None where nothing was replayed.

    Returns:
        The chart, with names above the dots so that it stays readable on a narrow screen.
    """
    if replay is None:
        return nothing_to_draw("Nothing was replayed; a budget for it measures a held-out workload.")
    records = [record for name, setting in replay.settings.items() for record in _records(name, setting)]
    if not records:
        return nothing_to_draw("No setting was replayed.")
    rows = list(dict.fromkeys(str(record["row"]) for record in records))
    highest = max(1 + regret.high for one in replay.settings.values() for regret in one.strategies.values())
    x = times_axis((_SMALLEST_FACTOR, max(highest * 1.15, 2.0)), "times the oracle's cost (log scale)")
    y = alt.Y("row:N", axis=None, sort=rows)
    colour = alt.Color("colour:N", scale=None, legend=None)
    tooltip = [
        alt.Tooltip("setting:N", title="setting"),
        alt.Tooltip("strategy:N", title="strategy"),
        alt.Tooltip("sizes:N", title="payloads"),
        alt.Tooltip("factor:N", title="times the oracle"),
        alt.Tooltip("n:Q", title="n"),
    ]
    base = alt.Chart(pl.DataFrame(records, infer_schema_length=None))
    whole, decades = base.transform_filter("datum.is_whole"), base.transform_filter("!datum.is_whole")
    layers = [
        whole.mark_tick(size=10, thickness=1).encode(x=x.x("equal:Q"), y=y),
        whole.mark_bar(height=7, opacity=0.35, cornerRadius=3).encode(
            x=x.x("low:Q"), x2="high:Q", y=y, color=colour, tooltip=tooltip
        ),
        decades.mark_point(opacity=0.8, strokeWidth=1.2).encode(
            x=x.x("value:Q"), y=y, color=colour, size=alt.Size("dot:Q", scale=None, legend=None), tooltip=tooltip
        ),
        whole.mark_point(filled=True, size=60, opacity=1).encode(x=x.x("value:Q"), y=y, color=colour, tooltip=tooltip),
        whole.mark_text(align="left", dy=-11, fontSize=10).encode(x=x.x("first:Q"), y=y, text="row:N"),
    ]
    return finished(
        layers,
        _ROW_PIXELS * len(rows),
        "Each full dot is what a strategy costs over what the oracle takes, its bar the 95 % interval; the open dots "
        "are the same for each decade of payload size, larger for larger payloads. The stroke at 1 is the oracle. Of "
        "the single methods, the best one of each setting is shown.",
    )


def _records(name: str, setting: SettingResult) -> list[dict[str, object]]:
    records = []
    for strategy in _shown(setting):
        regret = setting.strategies[strategy]
        shared = {"setting": name, "strategy": strategy, "row": f"{name}: {strategy}", "colour": _colour(strategy)}
        records.append(shared | _figures(regret, "all") | {"is_whole": True})
        for index, decade in enumerate(setting.decades):
            sizes = f"{format_bytes(decade.start_bytes)} to {format_bytes(decade.end_bytes)}"
            records.append(
                shared
                | _figures(decade.strategies[strategy], sizes)
                | {"is_whole": False, "dot": _SMALLEST_DOT * (1 + index)}
            )
    return records


def _shown(setting: SettingResult) -> Iterator[str]:
    """The strategies without the single methods that lose to another one."""
    single = {name: regret.value for name, regret in setting.strategies.items() if name.startswith("always:")}
    best = min(single, key=single.__getitem__)
    return (name for name in setting.strategies if name not in single or name == best)


def _figures(regret: Regret, sizes: str) -> dict[str, object]:
    value, low, high = (max(1 + share, _SMALLEST_FACTOR) for share in (regret.value, regret.low, regret.high))
    return {
        "value": value,
        "low": low,
        "high": high,
        "sizes": sizes,
        "factor": f"{value:.3g} ({low:.3g} to {high:.3g})",
        "n": regret.n,
        "first": _SMALLEST_FACTOR,
        "equal": 1.0,
    }


def _colour(strategy: str) -> str:
    method = strategy.removeprefix("always:")
    if method != strategy:
        return method_styles([method])[method].colour
    return _TUNED_COLOUR if strategy == "tuned" else _OTHER_COLOUR
