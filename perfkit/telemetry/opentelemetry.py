"""An engine's figures as OpenTelemetry metrics, and its decisions on spans.

Names, units and attributes of the call duration follow the semantic conventions for RPC (checked against 1.44, where
they are a release candidate; 1.45 calls them stable). What they have no name for is called `perfkit.…`. There is no
`rpc.method` and no `server.address`: an engine decides for whoever asks and knows neither.
"""

from __future__ import annotations

import importlib.metadata
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from perfkit.engine import Decision, Engine, Health
from perfkit.engine.circumstances import STATES
from perfkit.engine.events import (
    BreakerOpened,
    OutcomesRecorded,
    PlanReloaded,
    ReloadRefused,
    RowsDropped,
)
from perfkit.journal.turns import Turns
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.telemetry.attachment import Attachment
from perfkit.telemetry.names import BoundedNames

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span

__all__ = ["DURATION_BOUNDARIES_S", "add_to_span", "export_to_opentelemetry"]

DURATION_BOUNDARIES_S = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3),
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
"""Buckets of the call duration: those that the conventions recommend, and finer ones below, where transfers of one
machine lie."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
_Series = tuple[str, str, str]
"""Method, pool and error: what tells one series of figures from another."""
_Timed = tuple[float, _Series]
_MOST_POOLS = 100
_MOST_METHODS = 50
_MOST_ERRORS = 50


def export_to_opentelemetry(
    engine: Engine, meter_provider: MeterProvider | None = None, *, most_durations_per_s: int | None = 1_000
) -> Attachment:
    """Have an engine's figures exported by OpenTelemetry, as metrics.

    ``rpc.client.call.duration`` in seconds, by method, pool and, of a failed transfer, ``error.type``; counters
    ``perfkit.decisions`` (by source), ``perfkit.rows.dropped``, ``perfkit.reloads`` and ``perfkit.breaker.openings``;
    gauges ``perfkit.state``, ``perfkit.breaker.open``, ``perfkit.calibration.factor``, ``perfkit.rows.waiting`` and
    ``perfkit.hooks.time_share``. Attributes never hold a session or a decision; beyond 100 pools or 50 methods the rest
    are ``other``.

    What is recorded is counted, in the engine's thread: a decision that nobody records appears nowhere, and a failed
    transfer without a latency is counted, but has no duration.

    Args:
        engine: the engine; it is not kept alive.
        meter_provider: where to; by default the one that the service has set for the process.
        most_durations_per_s: transfers in a second whose duration is measured into the histogram, 1 or more: the SDK
            takes about 20 us for each. Of more, an even share is taken; the counters count all. None for no limit.

    Returns:
        What takes it off again; the instruments stay with their provider and fall silent.

    Raises:
        ModuleNotFoundError: opentelemetry-api is not installed.
    """
    try:
        from opentelemetry.metrics import get_meter_provider
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    provider = meter_provider if meter_provider is not None else get_meter_provider()
    version = importlib.metadata.version("perfkit")
    return _Exporter(engine, provider.get_meter("perfkit", version, SCHEMA_URL), most_durations_per_s).attach(engine)


def add_to_span(decision: Decision, payload_bytes: int, span: Span | None = None) -> None:
    """Note a decision on a span as the event ``perfkit.decision``, with its id for `Engine.explain`.

    Call it where you decide, in your own thread: that is where the current span is. What share of the transfers is
    noted is the sampling of your tracer; where a span records nothing, this does nothing.

    Args:
        decision: what was decided.
        payload_bytes: size of the payload before encoding.
        span: where to; by default the current span.

    Raises:
        ModuleNotFoundError: opentelemetry-api is not installed.
    """
    if span is None:
        try:
            from opentelemetry.trace import get_current_span
        except ModuleNotFoundError as error:
            raise _not_installed(error) from error
        span = get_current_span()
    if not span.is_recording():
        return
    attributes: dict[str, str | int | float] = {
        "perfkit.decision.id": decision.id,
        "perfkit.method": decision.method,
        "perfkit.pool": decision.cell.context.pool,
        "perfkit.source": decision.source,
        "perfkit.rule": decision.rule,
        "perfkit.state": decision.state,
        "perfkit.propensity": decision.propensity,
        "perfkit.payload.size": payload_bytes,
    }
    if decision.experiment:
        attributes |= {"perfkit.experiment": decision.experiment, "perfkit.variant": decision.variant}
    span.add_event("perfkit.decision", attributes)


class _Exporter:
    """The instruments of one engine, and what is fed into them."""

    def __init__(self, engine: Engine, meter: Meter, most_durations_per_s: int | None) -> None:
        self._engine: weakref.ref[Engine] | None = weakref.ref(engine)
        self._most = most_durations_per_s
        self._pools, self._methods = BoundedNames(_MOST_POOLS, "other"), BoundedNames(_MOST_METHODS, "other")
        self._errors = BoundedNames(_MOST_ERRORS, "_OTHER")
        self._last_ns = 0
        self._duration = meter.create_histogram(
            "rpc.client.call.duration",
            unit="s",
            description="Measures the duration of an outgoing Remote Procedure Call (RPC).",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES_S,
        )
        self._decisions = meter.create_counter("perfkit.decisions", "{decision}", "Decisions whose outcome is known.")
        self._dropped = meter.create_counter(
            "perfkit.rows.dropped", "{row}", "Recorded rows that could not be kept for the journal."
        )
        self._reloads = meter.create_counter("perfkit.reloads", "{reload}", "Plans taken, and files refused.")
        self._openings = meter.create_counter(
            "perfkit.breaker.openings", "{opening}", "How often a method failed too often."
        )
        gauges = (
            ("perfkit.state", self._observe_state, "1 for what the host has left now, 0 for every other state."),
            ("perfkit.breaker.open", self._observe_breakers, "1 for a method that is left alone, 0 for the others."),
            ("perfkit.calibration.factor", self._observe_factors, "Actual over predicted time, where corrected."),
            ("perfkit.hooks.time_share", self._observe_hooks, "Share of the engine's life spent in functions of on()."),
        )
        for name, observe, description in gauges:
            meter.create_observable_gauge(name, [observe], "1", description)
        meter.create_observable_gauge(
            "perfkit.rows.waiting", [self._observe_rows], "{row}", "Recorded rows on their way to the journal."
        )

    def attach(self, engine: Engine) -> Attachment:
        """Listen to the engine."""
        hooks = (
            engine.on(OutcomesRecorded, self._on_outcomes),
            engine.on(BreakerOpened, self._on_breaker),
            engine.on(RowsDropped, lambda event: self._dropped.add(event.rows)),
            engine.on(PlanReloaded, lambda event: self._reloads.add(1, {"perfkit.result": "accepted"})),
            engine.on(ReloadRefused, lambda event: self._reloads.add(1, {"perfkit.result": "refused"})),
        )
        return Attachment([*(hook.remove for hook in hooks), self._fall_silent])

    def _fall_silent(self) -> None:
        self._engine = None  # instruments cannot be taken back from a meter

    def _on_outcomes(self, event: OutcomesRecorded) -> None:
        counts: Counter[tuple[str, _Series]] = Counter()
        timed: list[tuple[float, _Series]] = []
        pause = Turns()
        for _, decision, _, latency_ns, _, ok, error in event.outcomes:
            pause()
            pool = self._pools[decision.cell.context.pool]
            series = self._methods[decision.method], pool, "" if ok else self._errors[error or "_OTHER"]
            counts[decision.source, series] += 1
            if latency_ns > 0:
                timed.append((latency_ns / 1e9, series))
        for (source, series), count in counts.items():
            self._decisions.add(count, {"perfkit.source": source, **_attributes(series)})
        attributes = {series: {"rpc.system.name": "perfkit", **_attributes(series)} for _, series in counts}
        for latency_s, series in self._even_share(timed, event.occurred_at_ns):
            pause()
            self._duration.record(latency_s, attributes[series])

    def _even_share(self, timed: Sequence[_Timed], now_ns: int) -> Sequence[_Timed]:
        """As many as may be measured since the last batch."""
        elapsed_s = min(max((now_ns - self._last_ns) / 1e9, 0.0), 1.0)
        self._last_ns = now_ns
        if self._most is None or len(timed) <= (most := max(int(self._most * elapsed_s), 1)):
            return timed
        return [timed[int(index * len(timed) / most)] for index in range(most)]

    def _on_breaker(self, event: BreakerOpened) -> None:
        self._openings.add(1, {"perfkit.method": self._methods[event.method]})

    def _health(self) -> Health | None:
        engine = self._engine() if self._engine is not None else None
        return None if engine is None else engine.health()

    def _observe_state(self, options: CallbackOptions) -> Iterable[Observation]:
        if (health := self._health()) is None:
            return []
        return [_observation(float(health.state == one), {"perfkit.state": one}) for one in STATES]

    def _observe_breakers(self, options: CallbackOptions) -> Iterable[Observation]:
        if (health := self._health()) is None:
            return []
        opened = {one.method for one in health.breakers if one.state != "closed"}
        methods = dict.fromkeys((*SIMPLICITY_ORDER, *sorted(opened)))
        return [_observation(float(one in opened), {"perfkit.method": self._methods[one]}) for one in methods]

    def _observe_factors(self, options: CallbackOptions) -> Iterable[Observation]:
        if (health := self._health()) is None:
            return []
        found = {
            (self._pools[pool], self._methods[method]): factor
            for pool, factors in health.corrections.items()
            for method, factor in factors.items()
        }
        return [
            _observation(factor, {"perfkit.pool": pool, "perfkit.method": method})
            for (pool, method), factor in found.items()
        ]

    def _observe_rows(self, options: CallbackOptions) -> Iterable[Observation]:
        health = self._health()
        return [] if health is None or health.recorder is None else [_observation(health.recorder.buffered, {})]

    def _observe_hooks(self, options: CallbackOptions) -> Iterable[Observation]:
        health = self._health()
        return [] if health is None or health.hooks is None else [_observation(health.hooks.time_share, {})]


def _attributes(series: _Series) -> dict[str, str]:
    method, pool, error = series
    return {"perfkit.method": method, "perfkit.pool": pool} | ({"error.type": error} if error else {})


def _observation(value: float, attributes: dict[str, Any]) -> Observation:
    from opentelemetry.metrics import Observation

    return Observation(value, attributes)


def _not_installed(error: ModuleNotFoundError) -> ModuleNotFoundError:
    message = (
        "this needs opentelemetry-api, which is not installed: pip install opentelemetry-api (the extra "
        "'perfkit[collect]' has it, too), and opentelemetry-sdk with an exporter, which decides where the figures go"
    )
    return ModuleNotFoundError(message, name=error.name)
