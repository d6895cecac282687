"""Notebooks on lakes that hold too little, or nothing that can be read: each ends in sentences.

The code cells are executed in this process, in their order, and what they show is drawn; one runs through a kernel.
"""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import nbformat
import polars as pl
import pytest
from deltalake import DeltaTable

import perfkit
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import PerfkitError
from perfkit.lake import Lake, RunRecord, open_lake
from perfkit.report import run_pipeline

FOLDER = Path(__file__).parents[2] / "notebooks"
BEGIN = datetime.datetime(2026, 11, 20, 21, tzinfo=datetime.UTC)
SIZES = tuple(1024 * 4**power for power in range(6))
NEXT_STEP = re.compile(r"`perfkit \w+|restore|give the folder|must be|write a number|read the newest")
"""What a message says beside what is wrong."""


def transfers(
    methods: tuple[str, ...] = ("uds", "shm_pool"),
    sizes: tuple[int, ...] = SIZES,
    *,
    launches: int = 3,
    rounds: int = 3,
    sends: int = 4,
    **columns: Any,
) -> pl.DataFrame:
    """Rows of a run, each a little slower than the one before."""
    frame = pl.DataFrame({"method": list(methods)})
    for name, values in (
        ("payload_bytes", sizes),
        ("launch", range(launches)),
        ("round", range(rounds)),
        ("sequence", range(sends)),
    ):
        frame = frame.join(pl.DataFrame({name: list(values)}), how="cross")
    cost = 20_000 + pl.col("payload_bytes") // 4 + pl.int_range(pl.len()) % 97 * 20
    moment = pl.lit(BEGIN).dt.cast_time_unit("us")
    constant = {name: pl.lit(value) for name, value in columns.items()}
    return frame.with_columns(latency_ns=cost, observed_at=moment, run_id=pl.lit("run-a")).with_columns(**constant)


def make(path: Path, frame: pl.DataFrame | None = None, status: str = "complete") -> Lake:
    """A lake with one run; without a frame the run has no rows."""
    lake = open_lake(path)
    if frame is not None:
        lake.append_transfers(frame.to_arrow())
    host = json.dumps(dict(collect_fingerprint()))
    rows = 0 if frame is None or status == "running" else frame.height
    lake.append_run(RunRecord("run-a", status, BEGIN, preset="quick", fingerprint=host, observations=rows))
    return lake


def bare(path: Path) -> None:
    path.mkdir()


def emptied(path: Path) -> None:
    make(path, transfers())
    for table in ("transfers", "runs"):
        DeltaTable(path / table).delete()


def retained(path: Path) -> None:
    make(path, transfers())
    DeltaTable(path / "transfers").delete()


def vacuumed(path: Path) -> None:
    lake = make(path, transfers())
    lake.append_transfers(transfers(run_id="run-b").to_arrow())
    table = DeltaTable(path / "transfers")
    table.optimize.compact()
    table.vacuum(0, enforce_retention_duration=False, dry_run=False)


def damaged(pattern: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A lake in which one file is not what it was."""

    def damage(path: Path) -> None:
        make(path, transfers())
        file = sorted(path.glob(pattern))[0]
        file.write_bytes(change(file.read_bytes()))

    return damage


def holding(frame: Callable[[], pl.DataFrame], status: str = "complete") -> Callable[[Path], Any]:
    return lambda path: make(path, frame(), status)


def a_file(path: Path) -> None:
    path.write_text("no lake")


def services(path: Path) -> None:
    open_lake(path).append_transfers(transfers(stage="whole", source="service", run_id="").to_arrow())


PARQUET = "transfers/*.parquet"
LAKES: Mapping[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "bare": bare,
    "emptied": emptied,
    "retained": retained,
    "vacuumed": vacuumed,
    "a file": a_file,
    "truncated": damaged(PARQUET, lambda data: data[:200]),
    "garbled": damaged(PARQUET, lambda data: data[:100] + bytes(len(data) - 108) + data[-8:]),
    "rows garbled": damaged(PARQUET, lambda data: data[:50] + b"\xff" * 400 + data[450:]),
    "empty file": damaged(PARQUET, lambda data: b""),
    "runs garbled": damaged("runs/*.parquet", lambda data: b"x" * 500),
    "log garbled": damaged("transfers/_delta_log/*.json", lambda data: b"{"),
    "failed": holding(lambda: transfers(ok=False, error="PeerLostError")),
    "no transport": holding(lambda: transfers(("",), stage="encode", kind="tensor", format="numpy")),
    "in flight": holding(lambda: transfers(in_flight=16)),
    "running": holding(transfers, "running"),
    "running, no rows": lambda path: make(path, None, "running"),
    "services": services,
    "one method": holding(lambda: transfers(("uds",))),
    "one sample": holding(lambda: transfers(("uds",), (1024,), launches=1, rounds=1, sends=1)),
    "one size": holding(lambda: transfers(sizes=(1024,))),
    "one launch": holding(lambda: transfers(launches=1)),
    "empty payloads": holding(lambda: transfers(sizes=(0, 1))),
    "no time": holding(lambda: transfers().with_columns(observed_at=pl.lit(None, pl.Datetime("us", "UTC")))),
    "good": holding(transfers),
}


@pytest.fixture(scope="module")
def lake_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of one of `LAKES`, made once."""
    folder, made = tmp_path_factory.mktemp("odd"), set[str]()

    def find(name: str) -> Path:
        path = folder / name
        if name not in made:
            made.add(name)
            LAKES[name](path)
        return path

    return find


def shown(value: Any) -> str:
    """What a cell's last value looks like, in words; whatever draws is drawn."""
    if isinstance(value, alt.TopLevelMixin):
        return json.dumps(value.to_dict())
    for name in ("_repr_mimebundle_", "_repr_html_"):
        if hasattr(value, name):
            getattr(value, name)()
    return str(value)


def execute(stem: str, parameters: Mapping[str, Any]) -> str:
    """Execute the code cells of a notebook with other parameters, and return what they show."""
    names: dict[str, Any] = {}
    texts = []
    for cell in nbformat.read(FOLDER / f"{stem}.ipynb", as_version=4).cells:
        if cell.cell_type != "code":
            continue
        body = ast.parse(cell.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), stem, "exec"), names)
        if "parameters" in cell.metadata.get("tags", ()):
            assert parameters.keys() <= names.keys()
            names.update(parameters)
        if isinstance(last, ast.Expr):
            texts.append(shown(eval(compile(ast.Expression(last.value), stem, "eval"), names)))
    return "\n".join(texts)


def given(stem: str, lake: Path, **parameters: Any) -> dict[str, Any]:
    thresholds = {"thresholds_path": str(lake.with_suffix(".toml"))} if stem == "30_tune" else {}
    return {"lake_path": str(lake), **thresholds, **parameters}


BOTH, ANALYSIS, TUNE = ("20_analysis", "30_tune"), ("20_analysis",), ("30_tune",)
ENDINGS = [
    ("missing", BOTH, {}, "missing has no"),
    ("bare", BOTH, {}, "bare has no"),
    ("emptied", BOTH, {}, "emptied has no"),
    ("retained", BOTH, {}, "of 432 that were measured retention removed all"),
    ("vacuumed", BOTH, {"versions": '{"transfers": 1, "runs": 1}'}, "removed, by `perfkit maintain`"),
    ("a file", BOTH, {}, "is a file, must be a folder"),
    ("truncated", BOTH, {}, "a file of lake .* is damaged"),
    ("garbled", BOTH, {}, "a file of lake .* is damaged"),
    ("rows garbled", BOTH, {}, "a file of lake .* is damaged"),
    ("empty file", BOTH, {}, "a file of lake .* is damaged"),
    ("runs garbled", BOTH, {}, "a file of lake .* is damaged"),
    ("log garbled", BOTH, {}, "cannot be read: .*Json error.*; restore"),
    ("failed", ANALYSIS, {}, r"every transfer failed \(PeerLostError 432\)"),
    ("failed", TUNE, {}, "none of the 432 observations is a .* successful"),
    ("no transport", ANALYSIS, {}, "none of 216 rows is a transfer"),
    ("no transport", TUNE, {}, "no transfer of stage 'transport'"),
    ("in flight", ANALYSIS, {}, "no transfer is in the plain setting"),
    ("in flight", TUNE, {}, "measured: uds, shm_pool with 16 in flight"),
    ("running", ANALYSIS, {}, "runs that did not finish; name one"),
    ("running", TUNE, {}, "no finished run; not finished: run-a"),
    ("running, no rows", BOTH, {"run_id": "run-a"}, "it is being measured, or was killed"),
    ("services", TUNE, {}, "no finished run"),
    ("good", BOTH, {"run_id": "run-x"}, "unknown run 'run-x'; allowed: run-a"),
    (
        "good",
        ANALYSIS,
        {"since": "2100-01-01T00:00+00:00"},
        "since 2100-01-01 00:00 UTC: the newest transfer is",
    ),
    ("good", ANALYSIS, {"since": "yesterday"}, "duration 'yesterday' cannot be read"),
    ("good", BOTH, {"versions": '{"transfers": 99}'}, "it was never written"),
    ("good", BOTH, {"versions": "newest"}, "must be JSON"),
]


@pytest.mark.parametrize(
    ("stem", "name", "parameters", "message"),
    [
        pytest.param(stem, name, parameters, message, id=f"{stem}-{name}-{'-'.join(parameters.values())[:20]}")
        for name, stems, parameters, message in ENDINGS
        for stem in stems
    ],
)
def test_it_ends_with_what_is_wrong_and_what_to_do(
    lake_of: Callable[[str], Path], stem: str, name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises((PerfkitError, AssertionError), match=message) as caught:
        execute(stem, given(stem, lake_of(name), **parameters))
    assert NEXT_STEP.search(str(caught.value))
    assert "\n" not in str(caught.value).partition("\nassert")[0]  # pytest adds to what an assertion says


SHOWN = [
    ("one method", {}, ("fixed cost", "uds at every size")),
    ("one sample", {}, ("1 launch or process", "rests on 1 launch, must be at least 3")),
    ("one size", {}, ("no curves over several sizes", "fewer than 4 sizes")),
    ("one launch", {}, ("1 launch or process", "thin evidence: 1 launch")),
    ("empty payloads", {}, ("Percentiles of latency", "thin evidence")),
    ("no time", {}, ("unknown", "No payload was measured whole")),
    ("running", {"run_id": "run-a"}, ("fixed cost", "No payload was measured whole")),
    ("good", {}, ("fixed cost", "No payload was measured whole")),
]


@pytest.mark.parametrize(("name", "parameters", "sentences"), SHOWN, ids=[name for name, _, _ in SHOWN])
def test_little_is_shown_with_how_little_it_is(
    lake_of: Callable[[str], Path], name: str, parameters: dict[str, Any], sentences: tuple[str, str]
) -> None:
    for stem, sentence in zip(BOTH, sentences, strict=True):
        text = " ".join(execute(stem, given(stem, lake_of(name), **parameters)).split())
        assert sentence in text
        assert not re.search(r"\bnan\b|NaN", text)


def test_what_services_recorded_is_analysed_without_a_run(lake_of: Callable[[str], Path]) -> None:
    assert "need a sweep" in execute("20_analysis", given("20_analysis", lake_of("services")))


ONE_ROW = {"method": ["uds"], "payload_bytes": [1], "latency_ns": [1]}
UNREADABLE = ("missing", "emptied", "retained", "truncated", "rows garbled", "runs garbled", "running, no rows")


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_python_api_says_it_too(lake_of: Callable[[str], Path], name: str) -> None:
    lake = lake_of(name)
    run = "run-a" if name == "running, no rows" else None
    calls: Mapping[str, Callable[[], Any]] = {
        "analyse": lambda: perfkit.analyse(lake, run=run),
        "fit": lambda: perfkit.fit(open_lake(lake).observations_of("run-a")),
        "compare": lambda: perfkit.compare("run-a", ONE_ROW, lake=lake),
        "replay": lambda: perfkit.replay(thresholds=lake.with_suffix(".none.toml"), lake=lake),
    }
    for call, ask in calls.items():
        if call == "fit" and name == "runs garbled":
            continue  # it does not look at the runs
        with pytest.raises(PerfkitError, match=r"perfkit \w+|allowed"):
            ask()


def test_a_publication_says_that_the_traffic_cannot_be_read(lake_of: Callable[[str], Path], tmp_path: Path) -> None:
    fit = perfkit.fit(transfers().to_arrow())
    places = {"path": tmp_path / "thresholds.toml", "dry_run": True}
    assert perfkit.publish(fit, lake=lake_of("missing"), **places).version == 1
    with pytest.raises(PerfkitError, match="is damaged"):
        perfkit.publish(fit, lake=lake_of("truncated"), **places)


@pytest.mark.timeout(300)
def test_a_report_says_it_on_its_page(
    lake_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_pipeline("analyse", {"lake_path": str(lake_of("failed"))}, notebooks_folder=FOLDER)
    assert "every transfer failed" in result.notebooks[0].error
    assert "every transfer failed" in (result.report_path / "20_analysis.html").read_text()
