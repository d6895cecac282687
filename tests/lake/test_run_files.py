"""A run as a file: every format gives back exactly what was written, and says what is wrong with what it did not."""

from __future__ import annotations

import datetime
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfkit.errors import FileError, InputError
from perfkit.lake import RunRecord
from perfkit.lake.delta import conform
from perfkit.lake.run_files import RUN_FILE_FORMATS, RunFile, read_run_file, write_run_file
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema

BEYOND_DOUBLE = 2**53 + 1
MOMENT = datetime.datetime(2026, 11, 21, 8, 15, 0, 123457, tzinfo=datetime.UTC)
RECORD = RunRecord(
    "20261121-081500-3f9c",
    "complete",
    MOMENT,
    preset='a, "b"\n#',
    fingerprint=json.dumps({"cpu": "Ünïcode®", "kernel": "6.18"}),
    seconds=0.1 + 0.2,
    observations=2,
    warnings=json.dumps(["varied by 9 %"]),
)

# What CSV and JSON are weak at; lone surrogates and NUL cannot be text of a table.
text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", " ", "null", "NA", "nan", "#", '"', '""', "a,b", "a\nb", "a\r\nb", "\r", "\ufeff", "1", "true", "\\N"]
)
VALUES = {
    "string": text,
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(0.0, 1.0),
    "timestamp[us, tz=UTC]": st.datetimes(
        datetime.datetime(1970, 1, 1), datetime.datetime(2200, 1, 1), timezones=st.just(datetime.UTC)
    ),
}
rows = st.lists(
    st.fixed_dictionaries(
        {
            column.name: VALUES[column.type] | st.none() if column.default is None else VALUES[column.type]
            for column in TRANSFER_COLUMNS
            if column.name != "run_id"
        }
    ),
    max_size=4,
)


def table_of(given_rows) -> pa.Table:
    return pa.Table.from_pylist([{"run_id": RECORD.run_id, **row} for row in given_rows], schema=arrow_schema())


def small() -> pa.Table:
    """Two observations: one with everything that formats lose, one with nothing but what is required."""
    told = {
        "run_id": RECORD.run_id,
        "observed_at": MOMENT,
        "scenario": "",
        "method": "uds",
        "payload_bytes": 1024,
        "latency_ns": BEYOND_DOUBLE,
        "error": "",
    }
    untold = {"run_id": RECORD.run_id, "method": "grpc", "payload_bytes": 1, "latency_ns": 0, "error": None}
    tables = [pa.Table.from_pylist([row]) for row in (told, untold)]
    return pa.concat_tables([conform(table, arrow_schema(), TRANSFER_COLUMNS) for table in tables])


@pytest.mark.parametrize("ending", RUN_FILE_FORMATS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(given_rows=rows)
def test_every_format_gives_back_what_was_written(tmp_path_factory, ending, given_rows):
    path = tmp_path_factory.mktemp("round") / f"run.{ending}"
    written = RunFile(RECORD, table_of(given_rows))
    write_run_file(path, written)
    found = read_run_file(path)
    assert found.record == RECORD
    assert found.observations.to_pylist() == written.observations.to_pylist()
    assert found.observations.schema.equals(arrow_schema())


@pytest.mark.parametrize("ending", RUN_FILE_FORMATS)
def test_nulls_empty_texts_microseconds_and_large_numbers_survive(tmp_path, ending):
    path = tmp_path / f"run.{ending}"
    write_run_file(path, RunFile(RECORD, small()))
    first, second = read_run_file(path).observations.to_pylist()
    assert (first["error"], second["error"]) == ("", None)
    assert (first["observed_at"], second["observed_at"]) == (MOMENT, None)
    assert first["latency_ns"] == BEYOND_DOUBLE
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_other_tools_can_read_the_files(tmp_path):
    """Polars reads all four; in a CSV file the first line is skipped, in JSON the columns are under `transfers`."""
    import polars as pl

    for ending in RUN_FILE_FORMATS:
        write_run_file(tmp_path / f"run.{ending}", RunFile(RECORD, small()))
    frames = [
        pl.read_parquet(tmp_path / "run.parquet"),
        pl.read_ipc(tmp_path / "run.arrow"),
        pl.read_csv(tmp_path / "run.csv", skip_rows=1),
        pl.DataFrame(json.loads((tmp_path / "run.json").read_text())["transfers"]),
    ]
    for frame in frames:
        assert frame["latency_ns"].to_list() == [BEYOND_DOUBLE, 0]


@pytest.mark.parametrize("ending", RUN_FILE_FORMATS)
def test_an_older_file_gets_the_columns_of_today(tmp_path, ending):
    """What perfkit wrote before rows had producers."""
    path = tmp_path / f"run.{ending}"
    older = small().drop_columns(["producer", "epoch", "producer_sequence"])
    write_run_file(path, RunFile(RECORD, older))
    assert read_run_file(path).observations.equals(small())


@pytest.mark.parametrize("ending", RUN_FILE_FORMATS)
def test_what_is_cut_short_is_refused(tmp_path, ending):
    path = tmp_path / f"run.{ending}"
    write_run_file(path, RunFile(RECORD, small()))
    for share in (0.0, 0.3, 0.6, 0.99):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(InputError, match=str(path)):
            read_run_file(path)


def test_a_lost_row_is_noticed(tmp_path):
    path = tmp_path / "run.csv"
    write_run_file(path, RunFile(RECORD, small()))
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match="holds 1 observations, 2 were written"):
        read_run_file(path)


def edited(tmp_path, **changes):
    path = tmp_path / "run.json"
    write_run_file(path, RunFile(RECORD, small()))
    whole = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parents, key = dotted.split("__")
        place = whole
        for parent in parents:
            place = place[parent]
        place[key] = value
    path.write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something"}, "format == 'something', must be 'perfkit.run'"),
        ({"schema_version": 99}, "has schema version 99, this perfkit knows up to"),
        ({"run__run_id": "../../x"}, "run_id == '../../x', must be"),
        ({"run__status": "done"}, "unknown run status 'done'"),
        ({"run__fingerprint": "[]"}, "fingerprint of the run == '\\[\\]', must be the text of a JSON dict"),
        ({"run__colour": "red"}, "unexpected keyword argument 'colour'"),
        ({"transfers__colour": ["red", "blue"]}, "unknown \\['colour'\\]"),
        ({"transfers__latency_ns": ["fast", "slow"]}, "is not a run that"),
        ({"transfers__latency_ns": [1, None]}, "column latency_ns has 1 nulls"),
        ({"transfers__run_id": ["other", RECORD.run_id]}, "holds observations of other"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_run_file(edited(tmp_path, **changes))


def test_a_file_of_something_else_is_refused(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"method": ["uds"]}), tmp_path / "own.parquet")
    (tmp_path / "own.csv").write_text("method,latency_ns\nuds,3\n")
    (tmp_path / "own.json").write_text("[1]")
    (tmp_path / "own.arrow").write_bytes(b"ARROW1")
    for ending in RUN_FILE_FORMATS:
        with pytest.raises(InputError, match="is not a run that `perfkit runs export` wrote"):
            read_run_file(tmp_path / f"own.{ending}")
    with pytest.raises(InputError, match=r"unknown ending of a file '.xlsx'; allowed: .parquet, .arrow, .csv, .json"):
        read_run_file(tmp_path / "own.xlsx")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_run_file(tmp_path / "none.csv")


def test_what_exists_is_left_alone_and_a_failure_leaves_nothing(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists and is left as it is"):
        write_run_file(path, RunFile(RECORD, small()))
    assert path.read_text() == "mine"
    with pytest.raises(FileError, match="cannot be written: No such file or directory"):
        write_run_file(tmp_path / "no" / "run.csv", RunFile(RECORD, small()))
    assert [file.name for file in tmp_path.iterdir()] == ["run.csv"]
