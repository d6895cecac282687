"""From observations to cost curves, choices and intervals. Start at `fit`."""

from perfkit.learn.composition import CompositionError, CrossedCell, composition_error, summarise_cells
from perfkit.learn.fitting import fit
from perfkit.learn.result import Crossover, Fit, Prediction, SampleCell

__all__ = [
    "CompositionError",
    "CrossedCell",
    "Crossover",
    "Fit",
    "Prediction",
    "SampleCell",
    "composition_error",
    "fit",
    "summarise_cells",
]
