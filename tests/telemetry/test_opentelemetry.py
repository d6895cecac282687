"""Metrics and span events, read back from the real SDK."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from dataclasses import replace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from perfkit.engine import Engine
from perfkit.engine.events import (
    BreakerOpened,
    OutcomesRecorded,
    PlanReloaded,
    ReloadRefused,
    RowsDropped,
)
from perfkit.telemetry import add_to_span, export_to_opentelemetry
from perfkit.telemetry.opentelemetry import DURATION_BOUNDARIES_S

RECOMMENDED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class Metrics:
    """A provider and what it would export."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def read(self) -> dict:
        """Points by metric and attributes; a number, or the point of a histogram."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        self.scopes = scopes
        self.by_name = {metric.name: metric for scope in scopes for metric in scope.metrics}
        return {
            name: {
                frozenset(point.attributes.items()): getattr(point, "value", point) for point in metric.data.data_points
            }
            for name, metric in self.by_name.items()
        }


@pytest.fixture
def metrics():
    made = Metrics()
    yield made
    made.provider.shutdown()


def outcomes(engine, count=1, *, latency_ns=50_000, ok=True, error=None, **context) -> list:
    decision = engine.decide(1024, **context)
    return [(1, decision, 1024, latency_ns, "user-17", ok, error)] * count


def test_durations_follow_the_conventions_for_rpc(engine, metrics) -> None:
    export_to_opentelemetry(engine, metrics.provider)
    rows = outcomes(engine, 3, latency_ns=50_000) + outcomes(
        engine, 2, latency_ns=2 * 10**9, ok=False, error="PeerLostError"
    )
    engine.emit(OutcomesRecorded(rows))
    found = metrics.read()["rpc.client.call.duration"]
    metric = metrics.by_name["rpc.client.call.duration"]
    assert metric.unit == "s"
    assert metrics.scopes[0].scope.name == "perfkit"
    common = {("rpc.system.name", "perfkit"), ("perfkit.method", "grpc"), ("perfkit.pool", "default")}
    assert set(found) == {frozenset(common), frozenset({*common, ("error.type", "PeerLostError")})}
    good, bad = found[frozenset(common)], found[frozenset({*common, ("error.type", "PeerLostError")})]
    assert (good.count, bad.count) == (3, 2)
    assert good.sum == pytest.approx(150e-6)
    assert tuple(good.explicit_bounds) == DURATION_BOUNDARIES_S
    assert good.bucket_counts[list(good.explicit_bounds).index(5e-5)] == 3
    assert set(RECOMMENDED) <= set(DURATION_BOUNDARIES_S)
    assert list(DURATION_BOUNDARIES_S) == sorted(DURATION_BOUNDARIES_S)


def test_decisions_are_counted_by_source_and_what_happens_is_counted(engine, metrics) -> None:
    export_to_opentelemetry(engine, metrics.provider)
    engine.emit(OutcomesRecorded(outcomes(engine, 5) + outcomes(engine, 2, latency_ns=0, ok=False)))
    for event in (RowsDropped(7, 7), RowsDropped(3, 10), PlanReloaded(2, 8), ReloadRefused(("broken",))):
        engine.emit(event)
    engine.emit(BreakerOpened("shm_pool", 5, 60 * 10**9))
    found = metrics.read()
    common = {("perfkit.source", "default"), ("perfkit.method", "grpc"), ("perfkit.pool", "default")}
    assert found["perfkit.decisions"] == {frozenset(common): 5, frozenset({*common, ("error.type", "_OTHER")}): 2}
    assert found["perfkit.rows.dropped"] == {frozenset(): 10}
    assert found["perfkit.reloads"] == {
        frozenset({("perfkit.result", "accepted")}): 1,
        frozenset({("perfkit.result", "refused")}): 1,
    }
    assert found["perfkit.breaker.openings"] == {frozenset({("perfkit.method", "shm_pool")}): 1}
    assert sum(point.count for point in found["rpc.client.call.duration"].values()) == 5


def test_gauges_tell_what_holds_now(engine, metrics, monkeypatch) -> None:
    export_to_opentelemetry(engine, metrics.provider)
    found = metrics.read()
    states = {dict(attributes)["perfkit.state"]: value for attributes, value in found["perfkit.state"].items()}
    assert states == {name: float(name == "normal") for name in states}
    assert len(states) == 5
    assert set(found["perfkit.breaker.open"].values()) == {0}
    assert "perfkit.calibration.factor" not in found
    assert found["perfkit.rows.waiting"] == {frozenset(): 0}
    now = replace(engine.health(), state="arena_low", corrections={"ml": {"shm_pool": 1.34}})
    monkeypatch.setattr(Engine, "health", lambda self: now)
    found = metrics.read()
    assert found["perfkit.state"][frozenset({("perfkit.state", "arena_low")})] == 1
    assert found["perfkit.calibration.factor"] == {
        frozenset({("perfkit.pool", "ml"), ("perfkit.method", "shm_pool")}): 1.34
    }


def test_a_service_that_records_is_seen_in_its_metrics(tmp_path, metrics, wait_until) -> None:
    """The whole way: an engine with its thread, outcomes, a method that fails, a file that changes."""
    settings = tmp_path / "perfkit.toml"
    settings.write_text("[breaker]\nfailures = 3\n")
    with Engine.load(settings) as engine:
        export_to_opentelemetry(engine, metrics.provider)
        small, large = engine.decide(1024), engine.decide(2**30)
        for _ in range(50):
            engine.record(small, 1024, 20_000, session="user-17")
        for _ in range(3):
            engine.record(large, 2**30, 0, ok=False, error=ConnectionError())
        wait_until(lambda: engine.decide(2**30).method != large.method)
        settings.write_text("[breaker]\nfailures = 4\n")
        wait_until(lambda: engine.generation > 1)
        wait_until(lambda: "perfkit.reloads" in metrics.read())
        assert engine.explain(small.id, 1024).decision.method == small.method
    found = metrics.read()
    counts = {dict(attributes)["perfkit.method"]: value for attributes, value in found["perfkit.decisions"].items()}
    assert counts == {small.method: 50, large.method: 3}
    assert sum(point.count for point in found["rpc.client.call.duration"].values()) == 50
    assert found["perfkit.breaker.openings"] == {frozenset({("perfkit.method", large.method)}): 1}
    assert found["perfkit.hooks.time_share"][frozenset()] > 0


def test_pools_methods_and_errors_are_bounded_and_no_session_or_id_gets_out(engine, metrics) -> None:
    export_to_opentelemetry(engine, metrics.provider, most_durations_per_s=None)
    decision = engine.decide(1024)
    cell = decision.cell
    rows = []
    for index in range(300):
        context = replace(cell.context, pool=f"pool-{index}")
        other = replace(decision, method=f"method-{index}", cell=replace(cell, context=context))
        rows.append((1, other, 1024, 1000, f"session-{index}", False, f"Error{index}"))
    engine.emit(OutcomesRecorded(rows))
    for name in ("perfkit.decisions", "rpc.client.call.duration"):
        attributes = [dict(one) for one in metrics.read()[name]]
        assert len({one["perfkit.pool"] for one in attributes}) == 101
        assert len({one["perfkit.method"] for one in attributes}) == 51
        assert len({one["error.type"] for one in attributes}) == 51
        assert "session" not in str(attributes)
        assert decision.id not in str(attributes)


def test_of_many_transfers_an_even_share_is_timed_and_all_are_counted(engine, metrics) -> None:
    export_to_opentelemetry(engine, metrics.provider, most_durations_per_s=100)
    rows = outcomes(engine, 3_000, latency_ns=20_000) + outcomes(engine, 1_000, latency_ns=10**9)
    engine.emit(OutcomesRecorded(rows))
    found = metrics.read()
    (point,) = found["rpc.client.call.duration"].values()
    assert sum(found["perfkit.decisions"].values()) == 4_000
    assert point.count == 100
    assert point.sum == pytest.approx(25, rel=0.01)


def test_it_is_taken_off_again_and_keeps_no_engine_alive(engine, metrics) -> None:
    attached = export_to_opentelemetry(engine, metrics.provider)
    assert "perfkit.state" in metrics.read()
    attached.remove()
    engine.emit(RowsDropped(7, 7))
    found = metrics.read()
    assert "perfkit.state" not in found
    assert "perfkit.rows.dropped" not in found


def test_an_engine_that_nobody_holds_goes_although_its_metrics_are_exported(metrics) -> None:
    engine = Engine.load("no-such-folder/perfkit.toml", background=False)
    gone = weakref.ref(engine)
    export_to_opentelemetry(engine, metrics.provider)
    del engine
    gc.collect()
    assert gone() is None
    assert metrics.read() == {}


def test_a_decision_on_a_span_has_its_id_and_its_reason(engine) -> None:
    decision = engine.decide(1024)
    with TracerProvider().get_tracer("test").start_as_current_span("call") as span:
        add_to_span(decision, 1024)
    (event,) = span.events
    assert event.name == "perfkit.decision"
    assert event.attributes["perfkit.decision.id"] == decision.id
    assert event.attributes["perfkit.method"] == "grpc"
    assert event.attributes["perfkit.payload.size"] == 1024
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_span("call")
    add_to_span(decision, 1024, unsampled)
    add_to_span(decision, 1024, trace.INVALID_SPAN)


def test_without_the_api_an_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from perfkit.engine import Engine; import perfkit.telemetry as telemetry\n"
        "engine = Engine.load('no-such-folder/perfkit.toml', background=False)\n"
        "for call in (lambda: telemetry.export_to_opentelemetry(engine), lambda: telemetry.add_to_span(None, 1)):\n"
        "    try: call()\n"
        "    except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install opentelemetry-api") == 2
