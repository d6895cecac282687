"""Keep what a notebook prints and draws small enough for a page: a loop that prints a line a time fills any browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perfkit.report.notebook.lake_versions import VERSIONS_MIMETYPE
from perfkit.report.notebook.records import RECORD_MIMETYPE
from perfkit.units import format_bytes

__all__ = ["OutputLimit"]

_KEPT_AT_EACH_END = 30_000
_MOST_DISPLAYED = 1_800_000  # all displays of a notebook: with the drawing library, its page stays under 3 MB
_MOST_PRINTED = 300_000  # of all its cells
_SHORT_TAIL = 1_000  # what a cell keeps once they have printed that much
_MOST_OF_AN_ERROR = 20_000
_NEVER_LEFT_OUT = (RECORD_MIMETYPE, VERSIONS_MIMETYPE)

_Output = Any  # an nbformat node


class OutputLimit:
    """Adds outputs to the cells of one notebook, and cuts those that are too long with a sentence that says so.

    Printed text keeps its beginning and its end, where the reason of a failure is. A chart or table that is too large
    is left out: half of it would be worse.
    """

    def __init__(self) -> None:
        self._printed_chars = 0
        self._displayed_chars = 0
        self._cell = -1
        self._outputs: list[_Output] = []
        self._before_cell = (0, 0)
        self._tail_limit = _KEPT_AT_EACH_END
        self._cut: _Output | None = None
        self._left_out_chars = 0
        self._tail = ""
        self._notes: dict[tuple[str, int], str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        return tuple(self._notes.values())

    def add(self, outputs: list[_Output], output: _Output, cell: int) -> _Output:
        """Add an output to those of a cell, as far as there is room.

        Args:
            outputs: of the cell so far, changed in place.
            output: what came in.
            cell: its number, as people know it.

        Returns:
            What was added or extended.
        """
        if cell != self._cell or not outputs:
            self._begin(outputs, cell)
        if output.output_type == "stream":
            return self._add_text(outputs, output)
        if output.output_type == "error":
            self._shorten_error(output)
        elif not any(kind in output.data for kind in _NEVER_LEFT_OUT):
            self._leave_out_if_too_large(output)
        outputs.append(output)
        return output

    def _begin(self, outputs: list[_Output], cell: int) -> None:
        """A cell begins, or begins anew because it cleared what it showed, as progress bars and redrawn charts do."""
        if self._outputs:
            self._printed_chars += len(self._tail)
        else:  # what was cleared takes no room
            self._printed_chars, self._displayed_chars = self._before_cell
            for kind in ("printed", "drawn"):
                self._notes.pop((kind, self._cell), None)
        self._before_cell = self._printed_chars, self._displayed_chars
        self._outputs, self._cell, self._cut, self._left_out_chars, self._tail = outputs, cell, None, 0, ""

    def _add_text(self, outputs: list[_Output], output: _Output) -> _Output:
        if self._cut is not None:
            return self._extend_cut(output.text)
        in_cell = sum(len(one.text) for one in outputs if one.output_type == "stream")
        room = min(_KEPT_AT_EACH_END - in_cell, _MOST_PRINTED - self._printed_chars)
        kept, rest = output.text[: max(room, 0)], output.text[max(room, 0) :]
        self._printed_chars += len(kept)
        last = outputs[-1] if outputs else None
        if last is not None and last.output_type == "stream" and last.name == output.name:
            last.text += kept
        else:
            last = output
            last.text = kept
            outputs.append(last)
        if rest:
            self._cut = last.copy()
            self._tail_limit = max(min(_KEPT_AT_EACH_END, _MOST_PRINTED - self._printed_chars), _SHORT_TAIL)
            outputs.append(self._cut)
            return self._extend_cut(rest)
        return last

    def _extend_cut(self, text: str) -> _Output:
        assert self._cut is not None  # the caller looked
        together = self._tail + text
        self._left_out_chars += max(len(together) - self._tail_limit, 0)
        self._tail = together[-self._tail_limit :]
        self._cut.text = self._tail
        if self._left_out_chars:
            size = format_bytes(self._left_out_chars)
            self._cut.text = f"\n\n[perfkit left out {size} of output here, to keep the page small]\n\n{self._tail}"
            self._notes["printed", self._cell] = (
                f"{size} of what its cell {self._cell} printed was left out; print less, or into a file"
            )
        return self._cut

    def _leave_out_if_too_large(self, output: _Output) -> None:
        size = sum(map(_chars, output.data.values()))
        if self._displayed_chars + size <= _MOST_DISPLAYED:
            self._displayed_chars += size
            return
        output.data = type(output.data)({"text/plain": f"[perfkit left out {format_bytes(size)} of output here]"})
        self._notes["drawn", self._cell] = (
            f"a chart or table of {format_bytes(size)} in its cell {self._cell} was left out: all of them may take "
            f"{format_bytes(_MOST_DISPLAYED)}; summarise the data before it is drawn"
        )

    def _shorten_error(self, output: _Output) -> None:
        if len(output.evalue) > _MOST_OF_AN_ERROR:
            output.evalue = output.evalue[:_MOST_OF_AN_ERROR] + " …"
        text = "\n".join(output.traceback)
        if len(text) > 4 * _MOST_OF_AN_ERROR:
            output.traceback = [text[:_MOST_OF_AN_ERROR], "[…]", text[-_MOST_OF_AN_ERROR:]]


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return len(json.dumps(value)) if isinstance(value, Mapping | list) else 0
