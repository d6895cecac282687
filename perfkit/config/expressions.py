"""Conditions of rules: a small safe language over what a decision depends on. Nothing is ever evaluated as Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from perfkit.config.expression_evaluating import Test, breakpoints, test_of
from perfkit.config.expression_parsing import parse_condition
from perfkit.config.expression_tree import Condition

__all__ = ["Expression", "parse_expression"]


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was read and checked, by `parse_expression`.

    Args:
        text: as people wrote it.
        breakpoints: sizes in bytes, ascending: between two of them the condition is the same for every size.
        tree: what it says.
    """

    text: str
    breakpoints: tuple[float, ...]
    tree: Condition
    _test: Test = dataclasses.field(compare=False, repr=False)

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether the condition holds. Raises nothing for values of any type.

        Args:
            values: ``bytes``, ``kind``, ``format``, ``compression``, ``signalling``, ``pool``, ``state``,
                ``in_flight`` and ``in_place``. What is missing, or of another type, is different from every value.
        """
        return self._test(values)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        """Copied and sent as what it was read from: functions cannot be."""
        return parse_expression, (self.text,)


def parse_expression(text: str) -> Expression:
    """Read a condition such as ``bytes > 64MiB and kind in ['tensor', 'dataframe']``.

    Args:
        text: `and`, `or`, `not`, parentheses, comparisons (also in chains), `in` and `not in` a list, `like` a pattern,
            over the names of `perfkit.config.expression_tree.NAMES`.

    Raises:
        ExpressionError: with the column, what was got and what is allowed.

    >>> large = parse_expression("64KiB <= bytes < 1MiB and not in_place")
    >>> large.breakpoints
    (65536, 1048576)
    >>> large.holds({"bytes": 100_000, "in_place": False})
    True
    """
    tree = parse_condition(text)
    return Expression(text, breakpoints(tree), tree, test_of(tree))
