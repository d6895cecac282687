"""The life of an experiment: planned, sized, watched, concluded, promoted or rolled back, archived.

Imported when first used: who lists experiments needs no statistics.

>>> from perfkit.workflows import experiment
>>> experiment.experiments("no/such/folder/perfkit.toml").experiments
()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfkit.config.experiment_plan import ExperimentPlan as ExperimentPlan
    from perfkit.workflows.experiment.concluding import conclude as conclude
    from perfkit.workflows.experiment.configuring import configure as configure
    from perfkit.workflows.experiment.ending import archive_experiment as archive_experiment
    from perfkit.workflows.experiment.ending import roll_back_experiment as roll_back_experiment
    from perfkit.workflows.experiment.following import experiment_report as experiment_report
    from perfkit.workflows.experiment.listing import experiments as experiments
    from perfkit.workflows.experiment.promoting import promote as promote
    from perfkit.workflows.experiment.reporting import Analysis as Analysis
    from perfkit.workflows.experiment.sizing import size_experiment as size_experiment
    from perfkit.workflows.experiment.testing import judge as judge
    from perfkit.workflows.experiment.watching import watch as watch

_HOMES = {
    "Analysis": "perfkit.workflows.experiment.reporting",
    "ExperimentPlan": "perfkit.config.experiment_plan",
    "archive_experiment": "perfkit.workflows.experiment.ending",
    "conclude": "perfkit.workflows.experiment.concluding",
    "configure": "perfkit.workflows.experiment.configuring",
    "experiment_report": "perfkit.workflows.experiment.following",
    "experiments": "perfkit.workflows.experiment.listing",
    "judge": "perfkit.workflows.experiment.testing",
    "promote": "perfkit.workflows.experiment.promoting",
    "roll_back_experiment": "perfkit.workflows.experiment.ending",
    "size_experiment": "perfkit.workflows.experiment.sizing",
    "watch": "perfkit.workflows.experiment.watching",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
