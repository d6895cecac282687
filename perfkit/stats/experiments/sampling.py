"""Which rows of a frame count: those of units that were in one variant only, with a value that can be one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.experiments.question import Question
from perfkit.stats.experiments.result import Excluded
from perfkit.stats.experiments.units import Arm, Coded, Columns, arm, code_labels, numbers

__all__ = ["Sample", "take_sample"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Sample:
    """The rows that count.

    Args:
        columns: the frame.
        unit: for each row of the frame the code of its unit; -1 where it has none.
        variant_of: for each unit the position of its variant in `variants`; -1 where it was in several or none.
        variants: names, the control first.
        excluded: what was left out, without the invalid values.
    """

    columns: Columns
    unit: Ints
    variant_of: Ints
    variants: tuple[str, ...]
    excluded: Excluded

    @property
    def units(self) -> dict[str, int]:
        """Units of each variant."""
        counts = np.bincount(self.variant_of + 1, minlength=len(self.variants) + 1)[1:]
        return dict(zip(self.variants, counts.tolist(), strict=True))

    def unit_means(self, name: str) -> Floats:
        """Of each unit the mean of a column over its rows that have a number there; NaN where none has."""
        values = numbers(self.columns[name], name)
        counts = (self.unit >= 0) & np.isfinite(values)
        unit, n = self.unit[counts], self.variant_of.size
        with np.errstate(invalid="ignore"):
            means: Floats = np.bincount(unit, values[counts], n) / np.bincount(unit, minlength=n)
        return means

    def arms(
        self, metric: str, within: Bools | None = None, covariate: Floats | None = None
    ) -> tuple[tuple[Arm, ...], int]:
        """The arms of one metric, one per variant, and how many of its rows are invalid.

        Args:
            metric: name of its column.
            within: for each unit whether it counts.
            covariate: for each unit what was known of it before; NaN where nothing was.
        """
        values = numbers(self.columns[metric], metric)
        row_variant = self.variant_of[self.unit]
        if (self.unit < 0).any():
            row_variant = np.where(self.unit < 0, -1, row_variant)
        if within is not None:
            row_variant = np.where(within[self.unit], row_variant, -1)
        with np.errstate(invalid="ignore"):
            valid = (values >= 0) & (values < np.inf)
        invalid = 0
        if not valid.all():
            invalid = int(np.count_nonzero(~valid & (row_variant >= 0)))
            row_variant = np.where(valid, row_variant, -1)
        arms = []
        for code in range(len(self.variants)):
            rows = row_variant == code
            arms.append(arm(values[rows], self.unit[rows], covariate))
        return tuple(arms), invalid


def take_sample(frame: Any, question: Question) -> Sample:
    """Read units and variants.

    Raises:
        UnknownNameError: the frame lacks a column.
        InputError: there are no rows, no control, or no other variant.
    """
    columns = Columns(frame)
    for name in question.columns:
        _ = columns[name]
    units, variants = code_labels(columns[question.unit]), code_labels(columns[question.variant])
    if not units.codes.size:
        raise InputError("the frame has no rows; an experiment needs observations of at least two variants")
    names = _ordered(variants, question)
    has_unit, has_variant = units.codes >= 0, variants.codes >= 0
    both = has_unit & has_variant
    everything = bool(both.all())
    unit_rows, variant_rows = (units.codes, variants.codes) if everything else (units.codes[both], variants.codes[both])
    table = np.bincount(unit_rows * variants.n_labels + variant_rows, minlength=units.n_labels * variants.n_labels)
    seen_in = table.reshape(units.n_labels, variants.n_labels) > 0
    how_many = seen_in.sum(axis=1)
    place = np.array([names.index(name) for name in variants.names], np.int64)
    variant_of = np.where(how_many == 1, place[seen_in.argmax(axis=1)], -1)
    mixed = np.flatnonzero(how_many > 1)
    excluded = Excluded(
        units_in_several_variants=mixed.size,
        rows_of_those=int(table.reshape(seen_in.shape)[mixed].sum()),
        rows_without_unit=int(np.count_nonzero(~has_unit)),
        rows_without_variant=int(np.count_nonzero(has_unit & ~has_variant)),
        examples=tuple(units.name(int(code)) for code in mixed[:_EXAMPLES]),
    )
    unit = units.codes if everything else np.where(both, units.codes, -1)
    return Sample(columns, unit, variant_of, names, excluded)


def _ordered(variants: Coded, question: Question) -> tuple[str, ...]:
    """Names of the variants, the control first."""
    seen = sorted(variants.names)
    if question.control not in seen:
        there = ", ".join(seen) or "none"
        raise InputError(f"no row has {question.variant} == {question.control!r} (the control); there are: {there}")
    planned = [name for name in sorted(question.shares or ()) if name not in seen]
    others = [name for name in (*seen, *planned) if name != question.control]
    if not others:
        raise InputError(
            f"every row has {question.variant} == {question.control!r}; an experiment needs rows of another variant"
        )
    return question.control, *others


def with_invalid(excluded: Excluded, invalid: Mapping[str, int]) -> Excluded:
    """What was left out, with the invalid values of each metric."""
    return dataclasses.replace(excluded, rows_invalid=dict(invalid))
