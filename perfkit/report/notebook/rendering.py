"""How charts leave a notebook: as data for the report's page, as a widget for JupyterLab, or as a picture.

A chart in a report is a figure that carries its specification as JSON. The page holds the drawing library once, draws
all figures and redraws them when the reader's colour scheme changes; nothing is loaded from a network.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from typing import TYPE_CHECKING, Any

from perfkit.errors import InputError
from perfkit.report.lean_imports import SLOW_FORMAT_CHECK, without
from perfkit.report.theme import LIGHT_CONFIG

if TYPE_CHECKING:
    from altair.theme import ThemeConfig

__all__ = ["NOTEBOOKS_VARIABLE", "REPORT_VARIABLE", "chart_figure", "has_front_end", "prepare_notebook"]

NOTEBOOKS_VARIABLE = "PERFKIT_NOTEBOOKS"
"""Environment variable that names the project's notebooks folder, for notebooks that a scheduler copies elsewhere."""

REPORT_VARIABLE = "PERFKIT_REPORT"
"""Environment variable that the runner sets for the notebooks that it executes."""

_PICTURE_PIXELS = 800
_VISUAL_STUDIO_VARIABLE = "VSCODE_PID"  # of its editor's own processes, kernels among them; not of its terminals
_OPENED_VARIABLE = "JPY_SESSION_NAME"  # set by Jupyter's server for kernels of notebooks that somebody opened


def prepare_notebook() -> None:
    """Make a notebook ready: its charts, and the folder that its relative paths start from.

    Charts become figures of the report under `perfkit run`, widgets in JupyterLab and Voila (nothing is loaded from a
    network), and pictures where nobody is there to look. A scheduler such as jupyter-scheduler runs a copy of the
    notebook in a folder of its own; there the kernel goes to the folder that `PERFKIT_NOTEBOOKS` names, so that
    `../data/lake` is the project's. A notebook that somebody has opened stays where it is.

    Raises:
        InputError: `PERFKIT_NOTEBOOKS` names no folder.

    >>> import altair
    >>> prepare_notebook()
    >>> altair.theme.active
    'perfkit'
    """
    with without(SLOW_FORMAT_CHECK):
        import altair as alt

    alt.theme.register("perfkit", enable=True)(_theme)
    alt.renderers.register("perfkit", _render_figure)
    alt.renderers.register("perfkit-picture", _render_picture)
    alt.renderers.register("perfkit-widget", _render_widget)
    if has_front_end():
        alt.renderers.enable("perfkit-widget")
        return
    alt.renderers.enable("perfkit" if _in_report() else "perfkit-picture")
    if not _in_report():
        _return_to_project()


def has_front_end() -> bool:
    """Whether somebody looks at this notebook through something that runs widgets.

    >>> has_front_end()
    False
    """
    if _in_report():
        return False
    is_voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return is_voila or any(name in os.environ for name in (_OPENED_VARIABLE, _VISUAL_STUDIO_VARIABLE))


def _in_report() -> bool:
    return bool(os.environ.get(REPORT_VARIABLE))


def _return_to_project() -> None:
    named = os.environ.get(NOTEBOOKS_VARIABLE)
    if not named:
        return
    try:
        os.chdir(named)
    except OSError as error:
        raise InputError(
            f"{NOTEBOOKS_VARIABLE} == {named!r}, must be the project's notebooks folder ({error.strerror}): "
            "set it to that, or remove it from the environment"
        ) from error


def _theme() -> ThemeConfig:
    return {"config": {**LIGHT_CONFIG, "background": "white"}}  # type: ignore[typeddict-item]


def _render_figure(spec: dict[str, Any], **_: Any) -> dict[str, str]:
    return {"text/html": chart_figure(spec), "text/plain": "A chart: open the report's page to see it."}


def _render_widget(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    from perfkit.report.widgets.chart_widget import ChartWidget

    bundle, _metadata = ChartWidget(spec)._repr_mimebundle_() or ({}, {})
    return {**bundle, "text/plain": str(spec.get("description", ""))}


def _render_picture(spec: dict[str, Any], **_: Any) -> dict[str, str]:
    import vl_convert

    caption = html.escape(str(spec.get("description", "")))
    sized = {**spec, "width": _PICTURE_PIXELS} if spec.get("width") == "container" else spec
    figure = f"<figure>{vl_convert.vegalite_to_svg(sized)}<figcaption>{caption}</figcaption></figure>"
    return {"text/html": figure, "text/plain": caption}


def chart_figure(spec: dict[str, Any]) -> str:
    """A figure that the report's page draws.

    Args:
        spec: a Vega-Lite specification. Its configuration is left to the page, which knows the reader's colour scheme.

    Returns:
        HTML: the specification as JSON, and its description as the caption. The id depends on the specification alone,
        so that the same results give the same page.

    >>> 'class="perfkit-chart"' in chart_figure({"mark": "bar", "description": "Bars."})
    True
    """
    lean = {name: value for name, value in spec.items() if name not in ("$schema", "config")}
    text = json.dumps(lean, sort_keys=True, separators=(",", ":"))
    name = "chart-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    safe = text.replace("<", "\\u003c")  # "</script>" within the data must not end the script
    caption = html.escape(str(spec.get("description", "")))
    return (
        f'<figure class="perfkit-chart" id="{name}"><div class="perfkit-drawing" role="img" aria-label="{caption}">'
        "The chart is drawn by the report's page.</div>"
        f'<figcaption>{caption}</figcaption><script type="application/json">{safe}</script></figure>'
    )
