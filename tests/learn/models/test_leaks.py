"""Nothing of what is to be learned may reach a model by the order of the rows."""

from __future__ import annotations

import numpy as np

from perfkit.learn.models import read_rows, train


def traffic(seed: int, launches: range) -> dict[str, np.ndarray]:
    """Transfers of no known time, whose cost depends on their kind, their load and the memory that was available."""
    rng, rows = np.random.default_rng(seed), 4000
    size, kind, load = 2.0 ** rng.integers(10, 26, rows), rng.integers(0, 4, rows), rng.choice([1, 4, 16], rows)
    available = 2.0 ** rng.uniform(26, 34, rows)
    cost = (3e4 + 0.3 * size) * np.array([1.0, 1.3, 1.8, 2.5])[kind] * load**0.3 * np.where(available < 2**29, 1.6, 1)
    return {
        "method": np.full(rows, "uds"),
        "stage": np.full(rows, "whole"),
        "kind": np.array(["tensor", "dataframe", "binary", "text"])[kind],
        "in_flight": load,
        "payload_bytes": size,
        "available_bytes": available,
        "launch": rng.choice(launches, rows),
        "latency_ns": cost * rng.lognormal(0, 0.2, rows),
    }


def test_intervals_hold_for_new_launches_whose_times_nobody_knows() -> None:
    model = train(traffic(1, range(8)))
    assert model.targets["latency_ns"].champion == "model"
    rows = read_rows(traffic(2, range(10, 20)))
    said = model.predict_rows(rows.with_numbers(recent=np.zeros(len(rows))))
    seen = np.log(rows.targets["latency_ns"])
    assert 0.87 <= np.mean((said.log_low <= seen) & (seen <= said.log_high)) <= 0.93
