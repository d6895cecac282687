"""Series of a real database whose regressions people labelled."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from perfkit.stats.change_points import change_points

DATA = Path(__file__).parents[4] / "shared/data/sap-hana-small-2021"


def labels() -> list[tuple[str, int]]:
    if not DATA.exists():
        return []
    with (DATA / "labels.csv").open() as file:
        return [(row["dataset"], int(row["change_point"])) for row in csv.DictReader(file)]


@pytest.mark.skipif(not DATA.exists(), reason="needs shared/data beside the repository")
@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "builds"])
def test_every_labelled_regression_is_found_in_its_place_and_no_other(grouped: bool) -> None:
    for dataset, last_before in labels():
        with (DATA / dataset).open() as file:
            rows = list(csv.DictReader(file))
        values = [float(row["Measurement"]) for row in rows]
        found = change_points(values, [row["GHC"] for row in rows] if grouped else None)
        regressions = [point.index for point in found if point.relative > 0]
        assert regressions == ([last_before] if last_before else []), dataset
