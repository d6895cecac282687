"""Reading two columns: what people's spreadsheets write, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import InputError
from perfkit.workflows.forecast.reading import read_pairs

NAMES = ("time", "value")


@pytest.mark.parametrize(
    "text",
    [
        "time,value\n2026-01-01,1.5\n2026-01-02,2\n",
        "\ufefftime;value\r\n2026-01-01;1,5\r\n2026-01-02;2\r\n",
        "other\tvalue\ttime\nx\t1.5\t2026-01-01\n\nx\t2\t2026-01-02\n",
        ' time , value\n"2026-01-01", 1.5\n2026-01-02,2\n',
    ],
)
def test_separators_marks_and_order_do_not_matter(tmp_path: Path, text: str) -> None:
    path = tmp_path / "demand.csv"
    path.write_text(text, encoding="utf-8")
    assert read_pairs(path, NAMES, "demand") == (["2026-01-01", "2026-01-02"], [1.5, 2.0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("time,value\n", "has no rows"),
        ("time,amount\n1,2\n", "lacks the column value; it has time, amount"),
        ("1,2\n3,4\n", "lacks the columns time and value"),
        ("time,value\n1,2,3\n", "row 1 of"),
        ("time,value,value\n1,2,3\n", "has the column 'value' 2 times"),
        ("time,value\n1,two\n", "value of row 1 is 'two', no number"),
    ],
)
def test_broken_files_are_refused_by_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "demand.csv"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_pairs(path, NAMES, "demand")
    assert said in str(refused.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        read_pairs(tmp_path / "none.csv", NAMES, "demand")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_pairs(tmp_path / "binary.csv", NAMES, "demand")


def test_headers_of_spreadsheets_are_read() -> None:
    found = read_pairs({"Time": ["2026-01-01"], " VALUE ": [3]}, ("time", "value"), "demand")
    assert found == (["2026-01-01"], [3.0])
