"""Composed costs against transfers that were measured whole."""

import numpy as np
import pytest

from perfkit.learn import fit

CODEC = {"kind": "dataframe", "format": "arrow", "compression": "none"}


@pytest.fixture
def frame(exact_frame):
    """Transports, a codec, and crossed cells that cost a tenth more than their parts."""
    parts = [
        exact_frame({"uds": (10_000, 0.3)}, stage="transport", kind="binary", format="raw", compression="none"),
        exact_frame({"": (5_000, 0.2)}, stage="encode", **CODEC),
        exact_frame({"": (3_000, 0.0)}, stage="decode", **CODEC),
        exact_frame({"uds": (1.1 * 18_000, 1.1 * 0.5)}, sizes=(4096, 2**20), stage="whole", **CODEC),
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_the_error_is_the_distance_from_what_was_measured(frame):
    error = fit(frame).composition_error(frame)
    assert error.n == 2
    assert error.p50 == pytest.approx(1 - 1 / 1.1, rel=0.01)
    assert error.p90 == pytest.approx(1 - 1 / 1.1, rel=0.01)
    assert {cell.payload_bytes for cell in error.cells} == {4096, 2**20}
    assert error.cells[0].error >= error.cells[1].error


def test_it_renders_the_worst_cells(frame):
    error = fit(frame).composition_error(frame)
    assert error.to_table().to_plain()[0]["codec"] == "dataframe/arrow/none"
    assert error.to_plain()["worst"][0]["n"] == 9
    assert "half of 2 crossed cells" in str(error)
    assert "<table>" in error._repr_html_()


def test_without_crossed_cells_it_says_so_and_what_to_do(exact_frame):
    plain = exact_frame({"uds": (10_000, 0.3)})
    error = fit(plain).composition_error(plain)
    assert (error.n, error.cells, error.to_plain()["p50"]) == (0, (), None)
    assert "no transfer was measured whole" in str(error)
    assert "perfkit bench" in error._repr_html_()
