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
from perfkit.stats.experiments.units import Arm, Coded, Columns, arm, code_labels, numbers, sparse_codes
from perfkit.tables import plural

__all__ = ["Sample", "take_sample"]

Ints = npt.NDArray[np.signedinteger[Any]]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_EXAMPLES = 3
_MOST_VARIANTS = 50


@dataclasses.dataclass(frozen=True)
class Sample:
    """The rows that count.

    Args:
        columns: the frame.
        unit: for each row of the frame the code of its unit.
        row_variant: for each row the position of its variant in `variants`; -1 where the row does not count.
        variant_of: for each unit the position of its variant; -1 where it was in several, or there is no such unit.
        variants: names, the control first.
        excluded: what was left out, without the invalid values.
    """

    columns: Columns
    unit: Ints
    row_variant: Ints
    variant_of: Ints
    variants: tuple[str, ...]
    excluded: Excluded

    @property
    def units(self) -> dict[str, int]:
        """Units of each variant."""
        return {name: int(np.count_nonzero(self.variant_of == code)) for code, name in enumerate(self.variants)}

    def unit_means(self, name: str) -> Floats:
        """Of each unit the mean of a column over its rows that have a number there; NaN where none has."""
        values = numbers(self.columns[name], name)
        counts = (self.row_variant >= 0) & np.isfinite(values)
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
            within: for each row whether it counts.
            covariate: for each unit what was known of it before; NaN where nothing was.
        """
        values = numbers(self.columns[metric], metric)
        row_variant = self.row_variant if within is None else np.where(within, self.row_variant, -1)
        invalid = 0
        if not (values.min() >= 0 and values.max() < np.inf):  # so not if one is missing, either
            with np.errstate(invalid="ignore"):
                valid = (values >= 0) & (values < np.inf)
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
    units, variants = sparse_codes(columns[question.unit]), code_labels(columns[question.variant])
    if not units.codes.size:
        raise InputError("the frame has no rows; an experiment needs observations of at least two variants")
    names = _ordered(variants, question)
    place = np.array([*(names.index(name) for name in variants.names), -1], np.int8)  # the last one is that of -1
    row_variant, unit = place[variants.codes], units.codes
    without_unit, without_variant = 0, int(np.count_nonzero(row_variant < 0)) if variants.codes.min() < 0 else 0
    if unit.min() < 0:
        lacking = unit < 0
        without_unit, without_variant = int(lacking.sum()), int(np.count_nonzero(~lacking & (row_variant < 0)))
        row_variant = np.where(lacking, np.int8(-1), row_variant)
        unit = np.where(lacking, 0, unit)
    variant_of = np.full(units.n_labels, -1, np.int8)
    if without_unit or without_variant:
        counts = row_variant >= 0
        variant_of[unit[counts]] = row_variant[counts]
    else:
        variant_of[unit] = row_variant
    row_variant, mixed, rows_mixed = _without_mixed(unit, row_variant, variant_of)
    if not (variant_of >= 0).any():
        raise InputError(
            f"no unit is left: {plural(mixed.size, 'unit')} in several variants, {plural(without_unit, 'row')} without "
            f"a {question.unit}; name the column that was randomised as unit"
        )
    excluded = Excluded(
        units_in_several_variants=mixed.size,
        rows_of_those=rows_mixed,
        rows_without_unit=without_unit,
        rows_without_variant=without_variant,
        examples=tuple(units.name(int(code)) for code in mixed[:_EXAMPLES]),
    )
    return Sample(columns, unit, row_variant, variant_of, names, excluded)


def _without_mixed(unit: Ints, row_variant: Ints, variant_of: Ints) -> tuple[Ints, Ints, int]:
    """Takes units that were in several variants out of `variant_of`: the rows that are left, those units, their rows.

    Each unit has the variant of the last of its rows so far: one of another tells that it was in several.
    """
    differs = variant_of[unit] != row_variant
    differs &= row_variant >= 0
    if not differs.any():
        return row_variant, np.zeros(0, np.int64), 0
    mixed = np.unique(unit[differs])
    variant_of[mixed] = -1
    left_out = (variant_of[unit] < 0) & (row_variant >= 0)
    return np.where(left_out, np.int8(-1), row_variant), mixed, int(left_out.sum())


def _ordered(variants: Coded, question: Question) -> tuple[str, ...]:
    """Names of the variants, the control first."""
    if variants.n_labels > _MOST_VARIANTS:
        raise InputError(
            f"column {question.variant!r} has {variants.n_labels} values, and at most {_MOST_VARIANTS} variants are "
            "compared; name the column that holds the variant"
        )
    seen = sorted(variants.names)
    if question.control not in seen:
        there = ", ".join(seen) or "none"
        raise InputError(f"no row has {question.variant} == {question.control!r} (the control); there are: {there}")
    missing = [name for name in (question.shares or ()) if name not in seen]
    if missing:
        raise InputError(
            f"no row has {question.variant} == {missing[0]!r}, which shares names; there are: {', '.join(seen)}"
        )
    others = [name for name in seen if name != question.control]
    if not others:
        raise InputError(
            f"every row has {question.variant} == {question.control!r}; an experiment needs rows of another variant"
        )
    return question.control, *others


def with_invalid(excluded: Excluded, invalid: Mapping[str, int]) -> Excluded:
    """What was left out, with the invalid values of each metric."""
    return dataclasses.replace(excluded, rows_invalid=dict(invalid))
