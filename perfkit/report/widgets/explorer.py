"""A picture that is drawn again, with other arguments, whenever one of its controls moves."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perfkit.report.notebook.rendering import has_front_end
from perfkit.report.notebook.verdicts import Verdict
from perfkit.report.widgets.controls import Control

if TYPE_CHECKING:
    import altair as alt
    import ipywidgets

__all__ = ["Explorer", "View"]

CHART_CLASS = "perfkit-explorer-chart"
SENTENCE_CLASS = "perfkit-explorer-sentence"
ERROR_CLASS = "perfkit-explorer-error"


@dataclasses.dataclass(frozen=True)
class View:
    """What an explorer shows at the moment: a picture, and what it says."""

    chart: alt.LayerChart
    verdict: Verdict


def _specification(view: View) -> dict[str, Any]:
    # Checking it against the schema of charts takes half of the time that a reader waits; a test has checked it.
    specification: dict[str, Any] = view.chart.to_dict(validate=False)
    return specification


def _sentence(view: View) -> str:
    # Such a widget sets its lines as far apart as a row of buttons.
    return f'<div style="line-height: 1.4">{view.verdict._repr_html_()}</div>'


class Explorer:
    """A picture with controls; made by the functions of `perfkit.report.widgets`.

    In JupyterLab and Voila it is a box of controls above the picture; everywhere else it is the picture alone.
    """

    def __init__(
        self,
        controls: Mapping[str, Control],
        draw: Callable[..., View],
        follow: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Draw for the first time.

        Args:
            controls: by the name of the argument that each one gives to `draw`.
            draw: makes the picture from these arguments.
            follow: called with the name of the control that moved, before the picture is drawn: moves others with it.
        """
        self.controls = dict(controls)
        self._draw = draw
        self._follow = follow
        self._is_drawing = False
        self._box: ipywidgets.VBox | None = None
        self.view = draw(**self.choices)
        for name, control in self.controls.items():
            control.observe(functools.partial(self._moved, name))

    @property
    def choices(self) -> dict[str, Any]:
        """What the controls say."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def widget(self) -> ipywidgets.VBox:
        """The box of controls and picture; one for all the places that show it."""
        if self._box is None:
            self._box = self._make_box()
        return self._box

    def _make_box(self) -> ipywidgets.VBox:
        import ipywidgets

        from perfkit.report.widgets.chart_widget import ChartWidget

        self._chart = ChartWidget(_specification(self.view)).add_class(CHART_CLASS)
        self._sentence = ipywidgets.HTML(_sentence(self.view)).add_class(SENTENCE_CLASS)
        self._error = ipywidgets.HTML(layout={"display": "none"}).add_class(ERROR_CLASS)
        flowing = {"flex_flow": "row wrap", "grid_gap": "4px 16px", "align_items": "center"}
        controls = ipywidgets.Box([control.widget for control in self.controls.values()], layout=flowing)
        parts = [controls, self._error, self._chart, self._sentence]
        return ipywidgets.VBox(parts).add_class("perfkit-explorer")

    def _moved(self, name: str, _: object) -> None:
        if self._is_drawing:  # a control that follows another one
            return
        self._is_drawing = True
        try:
            self._follow(name)
            self.view = self._draw(**self.choices)
            if self._box is not None:
                self._chart.spec = _specification(self.view)
                self._sentence.value = _sentence(self.view)
                self._error.layout.display = "none"
        except Exception as error:
            if self._box is None:
                raise
            text = html.escape(f"{type(error).__name__}: {error}")  # nobody would see what a callback raises
            self._error.value = f'<p role="alert">This cannot be drawn; the picture is the one before. {text}</p>'
            self._error.layout.display = ""
        finally:
            self._is_drawing = False

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if has_front_end():
            display(self.widget)  # type: ignore[no-untyped-call]
        else:
            display(self.view.chart, self.view.verdict)  # type: ignore[no-untyped-call]

    def __str__(self) -> str:
        return str(self.view.verdict)
