"""Curves that are straight lines, for tests of composition and ranges."""

import pytest

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, IntervalPoint, Piece


@pytest.fixture
def line():
    """A curve `fixed + per_byte * bytes` with a relative half-width, measured from 1 KiB to 1 GiB."""

    def build(fixed, per_byte, half_width=0.0, n=90):
        points = (IntervalPoint(1.0, 1 - half_width, 1 + half_width),)
        return CostCurve((Piece(0.0, fixed, per_byte),), points, 1024.0, 2.0**30, n, 3)

    return build


@pytest.fixture
def transports():
    """A curve set with one copied transport per method, for latency only unless other quantities are named."""

    def build(quantities=("latency_ns",), signalling="*", **curves):
        return CurveSet(
            {
                CurveKey("transport", quantity, method, signalling, "copied"): curve
                for method, curve in curves.items()
                for quantity in quantities
            }
        )

    return build


@pytest.fixture
def arrow_curves(line):
    """Two methods, and a codec that writes twice the payload's bytes straight into a block."""

    def key(stage, method="*", placement="*", **codec):
        return CurveKey(stage, "latency_ns", method, "*", placement, 1, **codec)

    codec = {"kind": "dataframe", "format": "arrow", "compression": "none"}
    curves = {
        key("transport", "uds", "copied"): line(10_000, 0.5, half_width=0.1, n=50),
        key("transport", "shm_pool", "copied"): line(12_000, 0.3),
        key("transport", "shm_pool", "in_place"): line(12_000, 0.0, half_width=0.05),
        key("encode", **codec): line(5_000, 0.2),
        key("encode_into", **codec): line(4_000, 0.1, half_width=0.1),
        key("decode", **codec): line(3_000, 0.0, half_width=0.5),
    }
    return CurveSet(curves, (CodecEntry("dataframe", "arrow", "none", 2.0, True),))
