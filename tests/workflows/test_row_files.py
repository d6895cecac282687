"""Rows from files: every format, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from perfkit.errors import InputError
from perfkit.workflows.experiment.following import experiment_report
from perfkit.workflows.experiment.reporting import Analysis
from perfkit.workflows.experiment.testing import judge
from perfkit.workflows.row_files import read_frame

ROWS = {
    "session": [f"user-{number // 5}" for number in range(200)],
    "variant": ["A" if number // 5 % 2 else "B" for number in range(200)],
    "latency_ns": [1000 + 37 * number % 211 for number in range(200)],
    "at": [f"2026-11-26T09:{number // 60:02}:{number % 60:02}Z" for number in range(200)],
}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_told_by_the_headings(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"\ufeffname{separator}value\na{separator}1\n", encoding="utf-8")
    assert read_frame(path).to_pydict() == {"name": ["a"], "value": [1]}


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.parquet", "rows.arrow", "ROWS.CSV"])
def test_every_format_gives_the_same_answer(tmp_path: Path, name: str) -> None:
    path, frame = tmp_path / name, pl.DataFrame(ROWS)
    if path.suffix.lower() in (".csv", ".tsv"):
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)
    assert read_frame(path).num_rows == 200
    assert judge(path, metrics={"latency_ns": ["mean"]}).to_plain() == judge_rows()


def judge_rows() -> object:
    import perfkit

    return perfkit.ab(ROWS, metrics={"latency_ns": ["mean"]}).to_plain()


def test_a_report_of_a_file_has_its_name_and_its_times(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_csv(tmp_path / "rows.csv")
    report = experiment_report(tmp_path / "rows.csv", Analysis({"latency_ns": ["mean"]}, time="at", looks=4))
    assert report.name == "rows.csv"
    assert report.since is not None
    assert f"{report.since:%H:%M:%S}" == "09:00:00"
    assert len(report.over_time[0].looks) == 4
    with pytest.raises(InputError, match="no column 'when'; they have session, variant, latency_ns, at"):
        experiment_report(tmp_path / "rows.csv", Analysis({"latency_ns": ["mean"]}, time="when"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.xlsx", b"", "ends with .xlsx; name a file that ends with .csv, .tsv, .parquet or .arrow"),
        ("rows.parquet", b"no parquet", "rows.parquet cannot be read"),
        ("rows.csv", b"", "rows.csv cannot be read"),
        ("rows.csv", None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_frame(tmp_path / name)


def test_an_experiment_is_analysed_by_its_plan_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="analysed by its plan; leave the analysis out"):
        experiment_report("larger", Analysis({"latency_ns": ["mean"]}))
