"""How far medians may be off: what is the model's is told from the luck of launches and the noise of transfers."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.learn.models import rows_of
from perfkit.learn.models.doubt import doubt_of, median_doubt
from perfkit.learn.models.features import TransferRows
from perfkit.learn.models.judging import HeldOut

LAUNCHES, EACH = 6, 4
SIZES = 1024 * 2.0 ** np.arange(0, 20, 0.5)
METHODS = {"uds": 0.03, "grpc": 0.15}


def held_out(seed: int, luck: float = 0.05, noise: float = 0.2, sizes: np.ndarray = SIZES) -> HeldOut:
    """Launches of two methods whose usual cost is predicted wrongly, by an error that no launch shares."""
    random = np.random.default_rng(seed)
    method, size, launch, _ = (
        column.ravel()
        for column in np.meshgrid([*METHODS], np.arange(sizes.size), np.arange(LAUNCHES), np.arange(EACH))
    )
    of_cell = random.normal(0, 1, (2, sizes.size))
    of_launch = random.normal(0, luck, (2, LAUNCHES))
    code = (method == "grpc").astype(int)
    error = np.array([*METHODS.values()])[code] * of_cell[code, size] + of_launch[code, launch]
    rows: TransferRows = rows_of(sizes[size], method=method.tolist(), source="service")
    rows = TransferRows(rows.names, rows.codes, rows.numbers, launch, rows.moment_us, rows.is_transport)
    log_cost = error + random.normal(0, noise, method.size)
    return HeldOut(rows, launch, log_cost, np.zeros(method.size), None, None)


def test_the_models_own_error_is_told_from_luck_and_noise() -> None:
    found = [median_doubt(one, np.zeros(len(one.rows))) for one in map(held_out, range(20))]
    for method, true in METHODS.items():
        squares = np.mean([doubt_of(one, method, 1) ** 2 for one in found])
        # The luck of six launches moves all cells of a method together; it averages out over simulations.
        assert np.sqrt(squares) == pytest.approx(true, abs=0.025)
    assert doubt_of(found[0], "shm", 1) == found[0]["median_doubt"]


def test_without_error_hardly_any_doubt_is_left() -> None:
    one = held_out(1, luck=0.0, noise=0.01)
    perfect = one.log_cost - np.random.default_rng(2).normal(0, 0.01, one.log_cost.size)
    assert median_doubt(one, perfect)["median_doubt"] < 0.01


def test_nothing_is_said_where_too_little_was_seen() -> None:
    found = median_doubt(few := held_out(1, sizes=SIZES[:4]), np.zeros(len(few.rows)))
    assert found == {}
    assert doubt_of(found, "uds", 1) is None
