"""Latency against size, to look around in: sizes, methods, settings, and each edge from near."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perfkit.config.curves import CurveSet
from perfkit.config.settings import GOALS, PoolSettings, Settings, read_settings
from perfkit.engine.costs import Context
from perfkit.engine.ranges import Range, compile_ranges
from perfkit.errors import UnknownNameError
from perfkit.learn import Crossover
from perfkit.report.charts import crossover_chart, crossovers, latency_chart
from perfkit.report.notebook.sends_verdicts import crossover_verdict, fastest_verdict
from perfkit.report.notebook.verdicts import ranges_verdict
from perfkit.report.theme import method_styles
from perfkit.report.widgets.controls import Control, choice, size_range, some_of, toggle
from perfkit.report.widgets.explorer import Explorer, View
from perfkit.schema import ZERO_COPY_FAMILY
from perfkit.units import format_bytes

__all__ = ["explore_latency"]

_SIGNALLING_NAMES = {"uds": "Unix socket", "grpc": "gRPC"}
_WHOLE_RANGE = ""  # not None: a list that unfolds would take that for nothing chosen
_NO_EDGE: Mapping[str, Crossover | str] = {"the whole range": _WHOLE_RANGE}
_NO_POOL = {"any": ""}


def explore_latency(
    observations: pa.Table,
    curves: CurveSet | None = None,
    *,
    goal: str = "latency",
    signalling: str = "uds",
    thresholds_path: str | Path | None = None,
) -> Explorer:
    """Latency against size with controls for sizes, methods and settings; with curves also for goal, pool and edge.

    Choosing an edge shows the single sends in the decade around it.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`.
        curves: what was fitted to them; without, only what was measured is drawn.
        goal: what the methods are chosen for at first.
        signalling: how shared memory is announced at first.
        thresholds_path: the pools of the `perfkit.toml` beside this file can be chosen: with their goals and methods.

    Returns:
        The explorer; in a report it is the picture of all methods and sizes.

    Raises:
        UnknownNameError: there is no such goal.
        ConfigError: `perfkit.toml` cannot be used.
    """
    settings = Settings() if thresholds_path is None else read_settings(Path(thresholds_path).parent / "perfkit.toml")
    if goal not in GOALS:
        raise UnknownNameError("goal", goal, GOALS)
    source = _Source(observations.filter(_plain(observations)), curves, settings)
    controls = source.controls(goal, signalling)

    def follow(name: str) -> None:
        if name == "pool" and controls["pool"].value:
            pool = settings.pool(controls["pool"].value)
            controls["goal"].value = pool.goal
            controls["methods"].value = source.methods if pool.methods is None else pool.methods
        if "edge" in controls and name != "edge":
            controls["edge"].offer(source.edges(**_values(controls)))

    return Explorer(controls, source.draw, follow)


def _plain(observations: pa.Table) -> Any:
    """The rows that any choice may show, so that a choice looks at these alone."""
    is_sent = pc.field("method") != ""
    return is_sent & (pc.field("stage") == "transport") if "stage" in observations.column_names else is_sent


def _values(controls: dict[str, Control]) -> dict[str, Any]:
    return {name: control.value for name, control in controls.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """What the pictures are made of."""

    observations: pa.Table
    curves: CurveSet | None
    settings: Settings

    @property
    def methods(self) -> tuple[str, ...]:
        """Measured methods, as the legend orders them."""
        return tuple(method_styles(self._distinct("method")))

    @functools.cached_property
    def signallings(self) -> tuple[str, ...]:
        """How shared memory was announced; as a socket does where none was measured."""
        zero_copy = self.observations.filter(pc.field("method").isin(ZERO_COPY_FAMILY))
        return tuple(_distinct(zero_copy, "signalling")) or ("uds",)

    @functools.cached_property
    def loads(self) -> tuple[int, ...]:
        """How many sends were under way at once, the smallest number first; one where nobody says."""
        return tuple(sorted(self._distinct("in_flight"))) or (1,)

    def controls(self, goal: str, signalling: str) -> dict[str, Control]:
        """One control for everything that there is a choice of."""
        controls = {"sizes": size_range(self._distinct("payload_bytes") or [1]), "methods": _methods(self.methods)}
        if len(self.signallings) > 1:
            names = {_SIGNALLING_NAMES.get(one, one): one for one in sorted(self.signallings, reverse=True)}
            first = signalling if signalling in self.signallings else self.signallings[0]
            controls["signalling"] = toggle("announced over", names, first, "perfkit-signalling")
        if len(self.loads) > 1:
            named = {str(load): load for load in self.loads}
            controls["in_flight"] = toggle("in flight", named, self.loads[0], "perfkit-in-flight")
        if self.curves is None:
            return controls
        controls["goal"] = choice("goal", {name: name for name in GOALS}, goal, "perfkit-goal")
        if self.settings.path is not None:
            controls["pool"] = choice(
                "pool", _NO_POOL | {name: name for name in self.settings.pools}, "", "perfkit-pool"
            )
        controls["edge"] = choice("edge", self.edges(**_values(controls)), _WHOLE_RANGE, "perfkit-edge")
        return controls

    def edges(self, **choices: Any) -> dict[str, Crossover | str]:
        """The edges of a setting, by what people call them."""
        ranges = self._ranges(self._context(**choices), choices.get("goal", "latency"), choices.get("pool", ""))
        named = {f"{one.before} → {one.after} at {format_bytes(one.payload_bytes)}": one for one in crossovers(ranges)}
        return {**_NO_EDGE, **named}

    def draw(
        self, *, sizes: tuple[int, int], methods: Sequence[str], edge: Crossover | str = _WHOLE_RANGE, **rest: Any
    ) -> View:
        """The picture of a choice."""
        context = self._context(methods=methods, **rest)
        if isinstance(edge, Crossover) and self.curves is not None:
            chart = crossover_chart(self.observations, self.curves, edge, context)
            return View(chart, crossover_verdict(self.observations, edge, context))
        ranges = self._ranges(context, rest.get("goal", "latency"), rest.get("pool", ""))
        chart = latency_chart(self.observations, self.curves, context, ranges=ranges, methods=methods, sizes=sizes)
        if self.curves is None:
            return View(chart, fastest_verdict(self.observations, context, methods=methods, sizes=sizes))
        return View(chart, ranges_verdict(ranges))

    def _context(self, *, methods: Sequence[str], signalling: str = "", in_flight: int = 0, **_: Any) -> Context:
        """What is shown; what has no control has one value only, and it need not be the usual one."""
        signalling, in_flight = signalling or self.signallings[0], in_flight or self.loads[0]
        return Context(available=tuple(methods), signalling=signalling, in_flight=in_flight)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - gone with the notebook that holds the explorer
    def _ranges(self, context: Context, goal: str, pool: str) -> tuple[Range, ...]:
        if self.curves is None:
            return ()
        chosen = self.settings.pool(pool) if pool else PoolSettings()
        return compile_ranges(
            self.curves, context, goal, simplicity_order=chosen.simplicity_order, tolerance=chosen.tolerance
        )

    def _distinct(self, column: str) -> list[Any]:
        return _distinct(self.observations, column)


def _distinct(observations: pa.Table, column: str) -> list[Any]:
    return pc.unique(observations[column]).to_pylist() if column in observations.column_names else []


def _methods(methods: Sequence[str]) -> Control:
    return some_of("methods", methods, "perfkit-methods")
