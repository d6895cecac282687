"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import perfkit

FORBIDDEN = {"numpy", "pyarrow", "grpc", "duckdb", "pandas", "polars", "sklearn", "msgspec", "asyncio", "sqlite3"}
NAMES = [
    "Binding",
    "Channel",
    "CodecError",
    "ConfigError",
    "Context",
    "CostModel",
    "Decision",
    "Engine",
    "ExpressionError",
    "FileError",
    "Fit",
    "FitError",
    "HandlerError",
    "InputError",
    "JournalError",
    "Lake",
    "LakeError",
    "MeasurementError",
    "MethodUnavailableError",
    "ModelError",
    "NoRoomError",
    "PayloadTooLargeError",
    "PeerLostError",
    "PerfkitError",
    "ProtocolError",
    "PublishError",
    "ReportError",
    "Request",
    "ResultTable",
    "Server",
    "TransferCancelledError",
    "TransferError",
    "TransferTimeoutError",
    "UnitError",
    "UnknownNameError",
    "ab",
    "ab_self_check",
    "analyse",
    "bench",
    "bench_ladder",
    "change_points",
    "check",
    "compare",
    "connect",
    "delete_runs",
    "diagnose",
    "distil",
    "drain",
    "dry_run",
    "experiment_report",
    "export_run",
    "fit",
    "fit_run",
    "forecast",
    "gate",
    "history",
    "import_run",
    "learn_models",
    "load_model",
    "maintain_lake",
    "method",
    "migrate_lake",
    "off_policy",
    "open_journal",
    "open_lake",
    "policy",
    "predict",
    "prepare_project",
    "publish",
    "publish_if_sound",
    "regressions",
    "replay",
    "rollback",
    "runs",
    "save_model",
    "scalability",
    "scoreboard",
    "serve",
    "slos",
    "switchback",
    "switchback_schedule",
    "train",
    "window_quantiles",
]


def test_the_public_names_are_these() -> None:
    assert sorted(perfkit.__all__) == NAMES
    assert set(NAMES) <= set(dir(perfkit))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert getattr(perfkit, name).__doc__


def test_every_exception_is_public() -> None:
    from perfkit import errors

    assert set(errors.__all__) <= set(perfkit.__all__)


def test_a_name_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Engin'.*Engine"):
        _ = perfkit.Engin


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, perfkit; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert FORBIDDEN.isdisjoint(done.stdout.split())


def test_a_room_may_be_imported_before_the_function_of_the_same_workflow() -> None:
    code = "import perfkit.workflows.publish, perfkit; assert callable(perfkit.publish) and callable(perfkit.bench)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_what_is_not_installed_is_named_with_its_remedy() -> None:
    """The base install lacks NumPy: the message says what to install, not where an import failed."""
    code = """
import sys, perfkit
sys.modules["numpy"] = None
for name in ("connect", "fit"):
    try:
        getattr(perfkit, name)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "perfkit.connect needs numpy, which is not installed: pip install 'perfkit[transfer]'",
        "perfkit.fit needs numpy, which is not installed: pip install 'perfkit[lab]'",
    ]
