"""Cost models: what curves leave unexplained, learned from traffic, with intervals for single transfers.

Start at `train`.
"""

from perfkit.learn.models.features import TransferRows, read_rows, rows_of
from perfkit.learn.models.model import TARGETS, CostModel, Predicted, Provenance, SeenContext, TargetModel
from perfkit.learn.models.report import ModelReport, SliceCoverage, TargetReport
from perfkit.learn.models.training import FEWEST_OBSERVATIONS, train

__all__ = [
    "FEWEST_OBSERVATIONS",
    "TARGETS",
    "CostModel",
    "ModelReport",
    "Predicted",
    "Provenance",
    "SeenContext",
    "SliceCoverage",
    "TargetModel",
    "TargetReport",
    "TransferRows",
    "read_rows",
    "rows_of",
    "train",
]
