"""`perfkit.bench_ladder`: measured with real processes, kept in the lake, read back, written as CSV."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.errors import FileError, InputError, LakeError, MeasurementError, UnknownNameError
from perfkit.workflows.ladder import ladder_of
from perfkit.workflows.ladder_result import CSV_COLUMNS, LadderPoint, LadderResult
from perfkit.workflows.runs import resolve_run, run_records

LEVELS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LadderResult]:
    lake = tmp_path_factory.mktemp("ladder") / "lake"
    result = perfkit.bench_ladder(
        methods=["uds"], sizes=["1KiB"], concurrency=LEVELS, budget_s=0.5, launches=2, lake=lake
    )
    return lake, result


def made(**throughput: float) -> LadderResult:
    """A ladder without measuring: throughput of one per method, which then follows a law."""
    points = [
        LadderPoint(method, 1024, n, gamma * n / (1 + 0.1 * (n - 1) + 0.01 * n * (n - 1)), launch, 0, n / gamma * 1e9)
        for method, gamma in throughput.items()
        for n in (1, 2, 4, 8)
        for launch in range(3)
    ]
    return LadderResult("r", "complete", tuple(points), 9.0)


def test_every_level_is_measured_in_every_launch(measured: tuple[Path, LadderResult]) -> None:
    _, result = measured
    assert {(point.concurrency, point.launch) for point in result.points} == {(n, k) for n in LEVELS for k in range(2)}
    assert min(point.throughput_per_s for point in result.points) > 0
    assert any("2 launches" in warning for warning in result.warnings)
    # The processes may be interrupted by anything, but what was counted is what was under way.
    assert 0.3 < result.little().value < 2
    assert result.scalability().n == 8


def test_a_ladder_is_read_back_from_the_lake_and_passed_over_by_latest(measured: tuple[Path, LadderResult]) -> None:
    folder, result = measured
    lake = perfkit.open_lake(folder)
    assert ladder_of(lake, result.run_id[:-2]) == result
    assert lake.transfers.available_bytes.min().to_pyarrow().as_py() > 0
    [record] = lake.runs.to_pyarrow().to_pylist()
    assert record["preset"] == "ladder"
    assert json.loads(record["parameters"])["concurrency"] == list(LEVELS)
    with pytest.raises(LakeError, match="no finished run"):
        resolve_run(lake, "latest")


def test_an_interrupted_ladder_keeps_what_was_measured(tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    arguments: dict[str, Any] = {"methods": ["uds"], "sizes": [1024], "concurrency": [1, 2], "budget_s": 0.5}
    result = perfkit.bench_ladder(**arguments, lake=tmp_path, progress=interrupt)
    assert result.status == "interrupted"
    assert result.n == 1
    assert ladder_of(tmp_path).points == result.points


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (MeasurementError("no"), "failed")]
)
def test_a_ladder_that_never_began_is_not_left_running(
    error: BaseException, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("perfkit.workflows.ladder.run_ladder", fail)
    with pytest.raises(type(error)):
        perfkit.bench_ladder(lake=tmp_path)
    [record] = run_records(perfkit.open_lake(tmp_path))
    assert record.status == status


def test_the_file_has_one_row_per_launch_for_other_tools(tmp_path: Path) -> None:
    points = made(uds=100.0).points
    doubled = tuple(
        dataclasses.replace(point, round=1, throughput_per_s=4 * point.throughput_per_s) for point in points
    )
    result = LadderResult("r", "complete", points + doubled, 9.0)
    result.to_csv(tmp_path / "ladder.csv")
    with (tmp_path / "ladder.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == 12
    assert float(rows[0]["throughput"]) == pytest.approx(200.0)  # the geometric mean of two rounds
    with pytest.raises(FileError, match="absent"):
        result.to_csv(tmp_path / "absent" / "ladder.csv")


def test_the_law_is_of_one_ladder() -> None:
    result = made(uds=100.0, shm_pool=200.0)
    assert result.scalability("uds").gamma.value == pytest.approx(100, rel=1e-4)
    assert result.scalability("shm_pool", 1024).gamma.value == pytest.approx(200, rel=1e-4)
    with pytest.raises(InputError, match="2 ladders"):
        result.scalability()
    with pytest.raises(UnknownNameError, match="grpc"):
        result.scalability("grpc")
    with pytest.raises(InputError, match="payload_bytes == 7"):
        result.scalability("uds", 7)
    assert [law["method"] for law in result.to_plain()["laws"]] == ["shm_pool", "uds"]
    json.dumps(result.to_plain())


def test_a_ladder_of_few_levels_has_no_law_but_shows_itself() -> None:
    few = LadderResult("r", "budget", made(uds=100.0).points[:6], 1.0)
    assert "no law" in str(few)
    assert few.to_plain()["laws"] == []
    empty = LadderResult("r", "interrupted", (), 0.0)
    assert "0 loads" in str(empty)
    assert empty.to_plain()["little"] is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"methods": ["grcp"]}, "grcp"),
        ({"methods": "uds"}, "methods == 'uds'"),
        ({"methods": []}, "methods"),
        ({"sizes": ["1Kib!"]}, "1Kib!"),
        ({"sizes": [0]}, "payload_bytes == 0"),
        ({"sizes": ["1TiB"]}, "choose smaller"),
        ({"concurrency": []}, "concurrency"),
        ({"concurrency": [0]}, "concurrency 0"),
        ({"concurrency": [65]}, "concurrency 65"),
        ({"concurrency": [1.5]}, r"concurrency 1\.5"),
        ({"budget_s": 0}, "budget of 0"),
        ({"budget_s": float("nan")}, "budget of nan"),
        ({"launches": 0}, "launches == 0"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_measured(arguments: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        perfkit.bench_ladder(**arguments, lake=tmp_path / "lake")
    assert not (tmp_path / "lake").exists()


def test_a_lake_without_a_ladder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="--ladder"):
        ladder_of(tmp_path / "lake")
