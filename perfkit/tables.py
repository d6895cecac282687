"""One small table for all results: the same rows as text for a terminal, HTML for a notebook, plain data for JSON."""

from __future__ import annotations

import dataclasses
import html
import io
import re
from collections.abc import Sequence

__all__ = ["ResultTable", "plural", "sentence_html"]


@dataclasses.dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows of already formatted cells with a title and notes.

    Args:
        title: what the table shows.
        columns: headings; without any, only title and notes are shown.
        rows: cells as text, one per column.
        notes: sentences below the table (warnings, how to read it).
        align_right: indices of the columns that hold figures.

    >>> rows = (("48KiB", "uds"), ("", "shm_pool"))
    >>> print(ResultTable("Ranges", ("up to", "method"), rows, ("n = 420",)).to_text(60))
    Ranges
     up to   method
    ──────────────────
     48KiB   uds
             shm_pool
    n = 420
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    align_right: tuple[int, ...] = ()

    def to_text(self, width: int = 80) -> str:
        """The table as plain text of at most `width` columns; long cells are folded, never cut."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=True)
        for index, column in enumerate(self.columns):
            justify = "right" if index in self.align_right else "left"
            table.add_column(Text(column), justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        buffer = io.StringIO()
        console = Console(file=buffer, width=width, color_system=None, legacy_windows=False)
        if self.title:
            console.print(Text(self.title))
        if self.columns:
            console.print(table)
        for note in self.notes:
            console.print(Text(note))
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())

    def to_html(self) -> str:
        """The table as HTML without style of its own, so that JupyterLab and the report give it theirs."""
        head = "".join(
            f'<th scope="col"{self._html_align(i)}>{html.escape(c)}</th>' for i, c in enumerate(self.columns)
        )
        body = "".join(
            "<tr>" + "".join(f"<td{self._html_align(i)}>{html.escape(c)}</td>" for i, c in enumerate(row)) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{sentence_html(note)}</p>" for note in self.notes)
        caption = f"<caption><span>{html.escape(self.title)}</span></caption>" if self.title else ""
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if not self.columns:
            title = f"<p>{html.escape(self.title)}</p>" if self.title else ""
            return f'<div class="perfkit-table">{title}{notes}</div>'
        # A region that scrolls is reached and moved by keyboard only when it has a place in the tab order, and a name.
        region = f'class="perfkit-scroll" tabindex="0" role="region" aria-label="{html.escape(self.title or "Table")}"'
        return f'<div class="perfkit-table"><div {region}>{table}</div>{notes}</div>'

    def _html_align(self, index: int) -> str:
        return ' style="text-align:right"' if index in self.align_right else ' style="text-align:left"'

    def to_plain(self) -> list[dict[str, str]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return self.to_text()


def plural(count: int, noun: str, nouns: Sequence[str] = ()) -> str:
    """A count with its noun.

    >>> plural(1, "launch", ["launches"]), plural(3, "launch", ["launches"]), plural(2, "round")
    ('1 launch', '3 launches', '2 rounds')
    """
    return f"{count} {noun if count == 1 else (nouns[0] if nouns else noun + 's')}"


def sentence_html(sentence: str) -> str:
    """A sentence as HTML, with what stands between backticks as code.

    >>> sentence_html("measure < 3 launches (`perfkit bench`)")
    'measure &lt; 3 launches (<code>perfkit bench</code>)'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(sentence))
