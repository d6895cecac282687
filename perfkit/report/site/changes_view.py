"""What changed, as a table with a picture in each row: before above after, intervals as bars, on one scale for all.

`templates/site/compare.js` draws the same; a test holds the two together.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from perfkit.report.notebook.records import Record
from perfkit.report.site.changes import GONE, NEW, UNIT_CHANGED, FigureChange, RunChanges, record_text
from perfkit.tables import plural

__all__ = ["changes_html"]

_SCALES = (1.05, 1.1, 1.2, 1.5, 2.0, 3.0)
"""Ends of the picture's logarithmic scale, as a factor; what lies beyond it is an arrow at its edge."""
_FITTING_SHARE = 0.75
_ARROWS = tuple(
    f'<svg x="{x}%" y="{{y}}"><path class="{{kind}}" d="{path}"/></svg>'
    for x, path in ((2, "M6-5L-3 0 6 5z"), (98, "M-6-5L3 0-6 5z"))
)
"""Towards what the scale cuts off on the left, and on the right."""
_SHOWN_FIRST = (NEW, GONE, UNIT_CHANGED)
_OPEN_ROWS = 6


def changes_html(changes: RunChanges) -> str:
    """The figures with their pictures; those of which nobody can say that they changed folded when they are many.

    Args:
        changes: what `changes_between` found. Its sentence and its warnings are left to the page.
    """
    notable = [one for one in changes.figures if one.is_notable or one.kind in _SHOWN_FIRST]
    rest = [one for one in changes.figures if one not in notable]
    scale = _scale(one for one in changes.figures if one.is_notable) or _scale(changes.figures) or _SCALES[0]
    parts = [_table(notable, scale, "Figures that changed")] if notable else []
    if rest:
        is_open = " open" if len(changes.figures) <= _OPEN_ROWS else ""
        summary = f"{plural(len(rest), 'figure')} that did not change clearly"
        parts.append(f"<details{is_open}><summary>{summary}</summary>{_table(rest, scale, summary)}</details>")
    return "".join(parts)


def _table(figures: Sequence[FigureChange], scale: float, caption: str) -> str:
    axis = f'<span class="axis"><span>÷{scale:g}</span><span>as before</span><span>×{scale:g}</span></span>'
    head = "".join(
        f'<th role="columnheader" scope="col"{kind}>{name}</th>'
        for name, kind in (
            ("figure", ""),
            ("before", ' class="number"'),
            ("after", ' class="number"'),
            ("change", ' class="number"'),
            (axis, ""),
            ("verdict", ""),
        )
    )
    # Roles by name: on a narrow screen the rows are laid out as cards, and a browser would forget that they are rows.
    rows = "".join(_row(one, scale) for one in figures)
    return (
        f'<table class="changes" role="table"><caption class="unseen">{html.escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
    )


def _row(one: FigureChange, scale: float) -> str:
    name = f'{html.escape(one.name)} <span class="quiet">{html.escape(one.notebook)}</span>'
    cells = "".join(
        f'<td role="cell" class="{kind}">{content}</td>'
        for kind, content in (
            ("number before", _figure(one.before)),
            ("number after", _figure(one.after)),
            ("number change", one.relative_text.replace("-", "−")),
            ("picture", _picture(one, scale)),
            ("verdict", html.escape(one.verdict)),
        )
    )
    kind = ' class="notable"' if one.is_notable else ""
    return f'<tr role="row"{kind}><th role="rowheader" scope="row">{name}</th>{cells}</tr>'


def _figure(kept: Record | None) -> str:
    if kept is None:
        return "–"
    interval = f'<span class="quiet">{html.escape(kept.interval_text)}</span>' if kept.interval_text else ""
    return f"{html.escape(kept.value_text)}{interval}"


def _picture(one: FigureChange, scale: float) -> str:
    base = _base(one)
    if not base or one.before is None or one.after is None:
        return ""
    said = html.escape(f"before {record_text(one.before)}, after {record_text(one.after)}")
    origin = '<line class="origin" x1="50%" x2="50%" y1="0" y2="30"/>'
    dots = []
    for kept, kind, y in ((one.before, "before", 9), (one.after, "after", 21)):
        if kept.low is not None and kept.high is not None:
            low, high = _place(kept.low / base, scale), _place(kept.high / base, scale)
            where = f'x="{low:.2f}%" y="{y - 3}" width="{max(high - low, 0.4):.2f}%"'
            dots.append(f'<rect class="{kind}" {where} height="6" rx="3"/>')
    factors = [float(kept.value) / base for kept in (one.before, one.after)]
    places = [_place(factor, scale) for factor in factors]
    dots.append(f'<line class="link" x1="{places[0]:.2f}%" y1="9" x2="{places[1]:.2f}%" y2="21"/>')
    dots.append(f'<circle class="before" cx="{places[0]:.2f}%" cy="9" r="4"/>')
    if 1 / scale <= factors[1] <= scale:
        dots.append(f'<circle class="after" cx="{places[1]:.2f}%" cy="21" r="4.5"/>')
    for kept, kind, y in ((one.before, "before", 9), (one.after, "after", 21)):
        bounds = [bound / base for bound in (float(kept.value), kept.low, kept.high) if bound is not None]
        cut = (min(bounds) < 1 / scale, max(bounds) > scale)
        dots.extend(arrow.format(y=y, kind=kind) for arrow, is_cut in zip(_ARROWS, cut, strict=True) if is_cut)
    return f'<svg class="strip" height="30" role="img" aria-label="{said}">{origin}{"".join(dots)}</svg>'


def _base(one: FigureChange) -> float:
    """The value that the picture relates to; 0 where a factor means nothing."""
    if one.relative is None or one.before is None or one.after is None or one.relative <= -1:
        return 0.0
    return float(one.before.value)


def _scale(figures: Iterable[FigureChange]) -> float:
    """The narrowest scale that holds most figures with their intervals: one outlier must not flatten all others.

    0 where no figure can be drawn.
    """
    widest = []
    for one in figures:
        base = _base(one)
        if not base or one.before is None or one.after is None:
            continue
        bounds = [bound for kept in (one.before, one.after) for bound in (float(kept.value), kept.low, kept.high)]
        factors = [bound / base for bound in bounds if bound is not None and bound > 0]
        widest.append(max(max(factor, 1 / factor) for factor in factors))
    if not widest:
        return 0.0
    most = sorted(widest)[math.ceil((len(widest) - 1) * _FITTING_SHARE)]
    return next((scale for scale in _SCALES if scale >= most), _SCALES[-1])


def _place(factor: float, scale: float) -> float:
    """Where a factor lies, in percent of the width."""
    if factor <= 0:
        return 2.0
    return min(max(50 + 48 * math.log(factor) / math.log(scale), 2.0), 98.0)
