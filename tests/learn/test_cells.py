"""Observations reduced to cells: which rows belong to which curve."""

import numpy as np
import pytest

from perfkit.config.curves import CodecEntry, CurveKey
from perfkit.learn.cells import codec_entries, collect_cells
from perfkit.learn.frames import read_observations


def cells_of(frame, **kwargs):
    return {cells.key: cells for cells in collect_cells(read_observations(frame), **kwargs)}


def transport(method, signalling="*", placement="copied", in_flight=1, quantity="latency_ns"):
    return CurveKey("transport", quantity, method, signalling, placement, in_flight)


def rows(**columns):
    columns = {"method": "uds", "payload_bytes": 1024, "latency_ns": 1000, **columns}
    count = max(len(values) for values in columns.values() if isinstance(values, list))
    return {name: values if isinstance(values, list) else [values] * count for name, values in columns.items()}


def test_signalling_matters_for_the_zero_copy_family_only():
    methods = ["uds", "uds", "shm_pool", "shm_pool"]
    collected = cells_of(rows(method=methods, signalling=["uds", "grpc"] * 2))
    assert set(collected) == {transport("uds"), transport("shm_pool", "uds"), transport("shm_pool", "grpc")}
    assert collected[transport("uds")].n == 2


def test_signalling_of_ones_own_method_matters_if_it_was_varied():
    assert set(cells_of(rows(method=["mine", "mine"], signalling="uds"))) == {transport("mine")}
    varied = cells_of(rows(method=["mine", "mine"], signalling=["uds", "grpc"]))
    assert set(varied) == {transport("mine", "uds"), transport("mine", "grpc")}


def test_a_cell_is_the_median_of_its_sends():
    collected = cells_of(rows(launch=[0, 0, 0, 1, 1], round=0, latency_ns=[10, 30, 1000, 50, 200]))
    assert np.exp(collected[transport("uds")].log_medians).ravel() == pytest.approx([30, 100])


def test_the_same_launch_number_of_two_runs_is_two_launches():
    collected = cells_of(rows(run_id=["a", "a", "b", "b"], launch=[0, 1, 0, 1]))
    assert collected[transport("uds")].launches == 4


def test_launches_are_told_apart_whatever_their_numbers_are():
    collected = cells_of(rows(launch=[2**60, 0, 7, 2**60], latency_ns=[10, 20, 30, 10]))
    assert np.exp(collected[transport("uds")].log_medians).ravel() == pytest.approx([20, 30, 10])


def test_placements_and_loads_get_curves_of_their_own():
    collected = cells_of(
        rows(method="shm_pool", placement=["copied", "in_place", "copied"], in_flight=[1, 1, 16], signalling="uds")
    )
    assert set(collected) == {
        transport("shm_pool", "uds"),
        transport("shm_pool", "uds", "in_place"),
        transport("shm_pool", "uds", in_flight=16),
    }


def test_transports_run_over_wire_bytes_and_codecs_over_payload_bytes():
    frame = rows(stage=["transport", "encode"], method=["uds", ""], payload_bytes=1000, wire_bytes=[400, 400])
    sizes = {key.stage: cells.sizes.tolist() for key, cells in cells_of(frame).items()}
    assert sizes == {"transport": [400], "encode": [1000]}


def test_processor_time_of_both_sides_is_added():
    frame = rows(latency_ns=[10, 10], cpu_sender_ns=[3, None], cpu_receiver_ns=[4, 5])
    collected = cells_of(
        {name: np.array(values, dtype=None if name == "method" else float) for name, values in frame.items()}
    )
    cpu = collected[transport("uds", quantity="cpu_ns")]
    assert cpu.n == 1  # a send of which one side is unknown says nothing
    assert np.exp(cpu.log_medians).ravel() == pytest.approx([7])


def test_control_and_whole_rows_are_no_evidence_for_curves():
    assert set(cells_of(rows(stage=["control", "whole", "transport"]))) == {transport("uds")}


def test_many_sizes_and_rounds_are_merged():
    sizes = [1000 + 37 * index for index in range(500)]
    cells = cells_of(rows(payload_bytes=sizes, round=list(range(500))))[transport("uds")]
    assert cells.sizes.size <= 48
    assert cells.log_medians.shape[1] == 64
    assert cells.n == 500


def test_codecs_are_described_by_what_they_did():
    frame = rows(
        stage=["encode", "encode_into", "decode", "encode"],
        kind=["dataframe", "dataframe", "dataframe", "text"],
        format=["arrow", "arrow", "arrow", "raw"],
        compression=["none", "none", "none", "zstd"],
        payload_bytes=1000,
        wire_bytes=[1010, 1010, 9, 250],
    )
    assert codec_entries(read_observations(frame)) == (
        CodecEntry("dataframe", "arrow", "none", 1.01, True),
        CodecEntry("text", "raw", "zstd", 0.25, False),
    )
