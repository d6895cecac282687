"""The controls of explorers: each has one value, a name for people and a class by which a page finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from perfkit.units import format_bytes

__all__ = ["Control", "choice", "size_range", "some_of", "toggle"]

_STYLE = {"description_width": "auto"}


class Control:
    """A widget that has a value, or several that make up one.

    Args:
        widget: what is shown.
        parts: the widgets whose ``value`` is observed.
        read: gives the value that they make up.
        write: moves them to a value.
        css_class: by which a page finds the control.
    """

    def __init__(
        self,
        widget: ipywidgets.DOMWidget,
        parts: Sequence[ipywidgets.Widget],
        read: Callable[[], Any],
        write: Callable[[Any], None],
        css_class: str,
    ) -> None:
        self.widget = widget.add_class(css_class)
        self.parts = tuple(parts)
        self._read = read
        self._write = write

    @property
    def value(self) -> Any:
        """What the control says."""
        return self._read()

    @value.setter
    def value(self, value: Any) -> None:
        self._write(value)

    def offer(self, options: Mapping[str, Any]) -> None:
        """Let a choice be made among others from now on; what was chosen stays if it is among them, or the first is."""
        before = self.value
        self.widget.options = list(options.items())
        self.widget.value = before if before in options.values() else next(iter(options.values()))

    def observe(self, changed: Callable[[object], None]) -> None:
        """Call `changed` whenever the value does."""
        for part in self.parts:
            part.observe(changed, "value")


def _single(widget: ipywidgets.DOMWidget, css_class: str) -> Control:
    def write(value: Any) -> None:
        widget.value = value

    return Control(widget, [widget], lambda: widget.value, write, css_class)


def choice(name: str, options: Mapping[str, Any], value: Any, css_class: str) -> Control:
    """One of several, from a list that unfolds.

    Args:
        name: what is chosen.
        options: value by the text that people see.
        value: what is chosen at first.
        css_class: class of the control.
    """
    widget = ipywidgets.Dropdown(options=list(options.items()), value=value, description=name, style=_STYLE)
    return _single(widget, css_class)


def toggle(name: str, options: Mapping[str, Any], value: Any, css_class: str) -> Control:
    """One of a few, side by side; arguments as in `choice`."""
    widget = ipywidgets.ToggleButtons(
        options=list(options.items()),
        value=value,
        description=name,
        style={**_STYLE, "button_width": "auto"},
    )
    return _single(widget, css_class)


def some_of(name: str, options: Sequence[str], css_class: str) -> Control:
    """Some of several, each with a box to tick; all of them at first.

    Args:
        name: what is chosen.
        options: names.
        css_class: class of the control.
    """
    boxes = [
        ipywidgets.Checkbox(value=True, description=option, indent=False, layout={"width": "auto"})
        for option in options
    ]
    widget = ipywidgets.Box([ipywidgets.Label(name), *boxes], layout={"flex_flow": "row wrap", "grid_gap": "0 10px"})

    def read() -> tuple[str, ...]:
        return tuple(box.description for box in boxes if box.value)

    def write(wanted: Sequence[str]) -> None:
        for box in boxes:
            box.value = box.description in wanted

    return Control(widget, boxes, read, write, css_class)


def size_range(sizes: Sequence[int], css_class: str = "perfkit-size-range") -> Control:
    """From one measured payload size to another.

    Args:
        sizes: the measured sizes in bytes, one or more.
        css_class: class of the control.
    """
    ordered = sorted(set(sizes))
    widget = ipywidgets.SelectionRangeSlider(
        options=[(format_bytes(size), size) for size in ordered],
        index=(0, len(ordered) - 1),
        description="payload",
        continuous_update=False,
        style=_STYLE,
        layout={"width": "min(420px, 100%)"},
    )
    return _single(widget, css_class)
