"""perfkit: measure how payloads move between processes on this machine, learn where each method wins, decide quickly.

Everything here is imported when it is first used: ``import perfkit`` is for services and loads no analytics library.

    engine = perfkit.Engine.load("perfkit.toml")
    decision = engine.decide(payload_bytes, pool="ml", kind="tensor", format="numpy")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfkit.channel import Channel as Channel
    from perfkit.channel import Request as Request
    from perfkit.channel import Server as Server
    from perfkit.channel import connect as connect
    from perfkit.channel import serve as serve
    from perfkit.engine import Binding as Binding
    from perfkit.engine import Decision as Decision
    from perfkit.engine import Engine as Engine
    from perfkit.engine.costs import Context as Context
    from perfkit.engine.policies import policy as policy
    from perfkit.errors import CodecError as CodecError
    from perfkit.errors import ConfigError as ConfigError
    from perfkit.errors import ExpressionError as ExpressionError
    from perfkit.errors import FileError as FileError
    from perfkit.errors import FitError as FitError
    from perfkit.errors import HandlerError as HandlerError
    from perfkit.errors import InputError as InputError
    from perfkit.errors import JournalError as JournalError
    from perfkit.errors import LakeError as LakeError
    from perfkit.errors import MeasurementError as MeasurementError
    from perfkit.errors import MethodUnavailableError as MethodUnavailableError
    from perfkit.errors import ModelError as ModelError
    from perfkit.errors import NoRoomError as NoRoomError
    from perfkit.errors import PayloadTooLargeError as PayloadTooLargeError
    from perfkit.errors import PeerLostError as PeerLostError
    from perfkit.errors import PerfkitError as PerfkitError
    from perfkit.errors import ProtocolError as ProtocolError
    from perfkit.errors import PublishError as PublishError
    from perfkit.errors import ReportError as ReportError
    from perfkit.errors import TransferCancelledError as TransferCancelledError
    from perfkit.errors import TransferError as TransferError
    from perfkit.errors import TransferTimeoutError as TransferTimeoutError
    from perfkit.errors import UnitError as UnitError
    from perfkit.errors import UnknownNameError as UnknownNameError
    from perfkit.journal import open_journal as open_journal
    from perfkit.lake import Lake as Lake
    from perfkit.lake import drain as drain
    from perfkit.lake import open_lake as open_lake
    from perfkit.learn import Fit as Fit
    from perfkit.learn import fit as fit
    from perfkit.learn.models import CostModel as CostModel
    from perfkit.learn.models import train as train
    from perfkit.learn.models.distilling import distil as distil
    from perfkit.learn.models.storing import load_model as load_model
    from perfkit.learn.models.storing import save_model as save_model
    from perfkit.stats.capacity.scalability import scalability as scalability
    from perfkit.stats.change_points import change_points as change_points
    from perfkit.stats.experiments import ab as ab
    from perfkit.stats.experiments.self_check import ab_self_check as ab_self_check
    from perfkit.stats.experiments.switchback import switchback as switchback
    from perfkit.stats.experiments.switchback import switchback_schedule as switchback_schedule
    from perfkit.tables import ResultTable as ResultTable
    from perfkit.transfer.registry import method as method
    from perfkit.workflows.analyse import analyse as analyse
    from perfkit.workflows.check import check as check
    from perfkit.workflows.compare import compare as compare
    from perfkit.workflows.doctor import diagnose as diagnose
    from perfkit.workflows.dry_run import dry_run as dry_run
    from perfkit.workflows.exchange import export_run as export_run
    from perfkit.workflows.exchange import import_run as import_run
    from perfkit.workflows.experiment.following import experiment_report as experiment_report
    from perfkit.workflows.forecast import forecast as forecast
    from perfkit.workflows.gate import gate as gate
    from perfkit.workflows.ladder import bench_ladder as bench_ladder
    from perfkit.workflows.learning.from_lake import learn_models as learn_models
    from perfkit.workflows.measure import bench as bench
    from perfkit.workflows.off_policy import off_policy as off_policy
    from perfkit.workflows.predict import predict as predict
    from perfkit.workflows.project import prepare_project as prepare_project
    from perfkit.workflows.publish import history as history
    from perfkit.workflows.publish import publish as publish
    from perfkit.workflows.publish import publish_if_sound as publish_if_sound
    from perfkit.workflows.publish import rollback as rollback
    from perfkit.workflows.regressions import regressions as regressions
    from perfkit.workflows.replay import replay as replay
    from perfkit.workflows.run_deletion import delete_runs as delete_runs
    from perfkit.workflows.runs import runs as runs
    from perfkit.workflows.scoreboard import scoreboard as scoreboard
    from perfkit.workflows.slos import slos as slos
    from perfkit.workflows.tune import fit_run as fit_run
    from perfkit.workflows.upkeep import maintain_lake as maintain_lake
    from perfkit.workflows.upkeep import migrate_lake as migrate_lake
    from perfkit.workflows.windows import window_quantiles as window_quantiles

_ERRORS = (
    "CodecError",
    "ConfigError",
    "ExpressionError",
    "FileError",
    "FitError",
    "HandlerError",
    "InputError",
    "JournalError",
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
    "TransferCancelledError",
    "TransferError",
    "TransferTimeoutError",
    "UnitError",
    "UnknownNameError",
)
_HOMES = {
    "Binding": "perfkit.engine",
    "Channel": "perfkit.channel",
    "Context": "perfkit.engine.costs",
    "CostModel": "perfkit.learn.models",
    "Decision": "perfkit.engine",
    "Engine": "perfkit.engine",
    "Fit": "perfkit.learn",
    "Lake": "perfkit.lake",
    "Request": "perfkit.channel",
    "ResultTable": "perfkit.tables",
    "Server": "perfkit.channel",
    "ab": "perfkit.stats.experiments",
    "ab_self_check": "perfkit.stats.experiments.self_check",
    "analyse": "perfkit.workflows.analyse",
    "bench": "perfkit.workflows.measure",
    "bench_ladder": "perfkit.workflows.ladder",
    "change_points": "perfkit.stats.change_points",
    "check": "perfkit.workflows.check",
    "compare": "perfkit.workflows.compare",
    "connect": "perfkit.channel",
    "delete_runs": "perfkit.workflows.run_deletion",
    "diagnose": "perfkit.workflows.doctor",
    "distil": "perfkit.learn.models.distilling",
    "drain": "perfkit.lake",
    "dry_run": "perfkit.workflows.dry_run",
    "experiment_report": "perfkit.workflows.experiment.following",
    "export_run": "perfkit.workflows.exchange",
    "fit": "perfkit.learn",
    "fit_run": "perfkit.workflows.tune",
    "forecast": "perfkit.workflows.forecast",
    "gate": "perfkit.workflows.gate",
    "history": "perfkit.workflows.publish",
    "import_run": "perfkit.workflows.exchange",
    "learn_models": "perfkit.workflows.learning.from_lake",
    "load_model": "perfkit.learn.models.storing",
    "maintain_lake": "perfkit.workflows.upkeep",
    "method": "perfkit.transfer.registry",
    "migrate_lake": "perfkit.workflows.upkeep",
    "off_policy": "perfkit.workflows.off_policy",
    "open_journal": "perfkit.journal",
    "open_lake": "perfkit.lake",
    "policy": "perfkit.engine.policies",
    "predict": "perfkit.workflows.predict",
    "prepare_project": "perfkit.workflows.project",
    "publish": "perfkit.workflows.publish",
    "publish_if_sound": "perfkit.workflows.publish",
    "regressions": "perfkit.workflows.regressions",
    "replay": "perfkit.workflows.replay",
    "rollback": "perfkit.workflows.publish",
    "runs": "perfkit.workflows.runs",
    "save_model": "perfkit.learn.models.storing",
    "scalability": "perfkit.stats.capacity.scalability",
    "scoreboard": "perfkit.workflows.scoreboard",
    "serve": "perfkit.channel",
    "slos": "perfkit.workflows.slos",
    "switchback": "perfkit.stats.experiments.switchback",
    "switchback_schedule": "perfkit.stats.experiments.switchback",
    **dict.fromkeys(_ERRORS, "perfkit.errors"),
    "train": "perfkit.learn.models",
    "window_quantiles": "perfkit.workflows.windows",
}

__all__ = [*_HOMES]


if not TYPE_CHECKING:  # a type checker that saw it would take every misspelt name for one of these

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module 'perfkit' has no attribute {name!r}; it offers {', '.join(sorted(__all__))}")
        try:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "perfkit":
                raise
            extra = "transfer" if _HOMES[name].startswith(("perfkit.channel", "perfkit.transfer")) else "lab"
            message = f"perfkit.{name} needs {error.name}, which is not installed: pip install 'perfkit[{extra}]'"
            raise ModuleNotFoundError(message, name=error.name) from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
