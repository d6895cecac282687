"""An experiment is judged at the unit that was randomised."""

from __future__ import annotations

import numpy as np

import perfkit


def test_an_effect_is_found_with_its_direction() -> None:
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(400), 25)
    variant = np.where(session % 2 == 1, "B", "A")
    latency_ns = 1e6 * rng.lognormal(0, 0.2, 400)[session] * rng.lognormal(0, 0.5, session.size)
    latency_ns = np.where(variant == "B", 1.2, 1.0) * latency_ns
    result = perfkit.ab({"session": session, "variant": variant, "latency_ns": latency_ns})
    assert [one.verdict for one in result.effects] == ["worse"] * 4
    assert result.metric("latency_ns", "mean").n_units == 400
