"""How every chart looks: one colour and shape per method, the same everywhere, in light and dark.

Colours are those of Okabe and Ito (*Color Universal Design*, 2008), which people with any colour vision can tell apart;
the shape says the same again for those who see none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["DARK_CONFIG", "LIGHT_CONFIG", "MethodStyle", "method_styles"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclasses.dataclass(frozen=True, slots=True)
class MethodStyle:
    """How a method is drawn."""

    colour: str
    shape: str


_METHOD_STYLES: Mapping[str, MethodStyle] = {
    "uds": MethodStyle("#009E73", "circle"),
    "grpc": MethodStyle("#D55E00", "square"),
    "grpc_stream": MethodStyle("#E69F00", "triangle-up"),
    "shm_pool": MethodStyle("#0072B2", "diamond"),
    "shm": MethodStyle("#56B4E9", "triangle-down"),
}
_OTHER_STYLES = (MethodStyle("#CC79A7", "cross"), MethodStyle("#8C8C8C", "triangle-right"))


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """The style of each method, in the order in which legends and labels name them.

    Methods that people registered share the two colours that are left, in alphabetical order.

    >>> method_styles(["shm", "mine", "uds"])["uds"].colour
    '#009E73'
    """
    wanted = set(methods)
    styles = {name: style for name, style in _METHOD_STYLES.items() if name in wanted}
    for index, name in enumerate(sorted(wanted - set(styles))):
        styles[name] = _OTHER_STYLES[index % len(_OTHER_STYLES)]
    return styles


def _config(*, text: str, quiet: str, line: str, ground: str | None) -> dict[str, Any]:
    return {
        "background": ground,
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "domainColor": line,
            "gridColor": line,
            "gridOpacity": 0.6,
            "labelColor": quiet,
            "labelFontSize": 11,
            "tickColor": line,
            "titleColor": quiet,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
        },
        "axisX": {"grid": False},
        "text": {"color": text, "fontSize": 12},
        "rule": {"color": quiet},
        "tick": {"color": quiet},
        "legend": {"labelColor": text, "titleColor": quiet},
    }


LIGHT_CONFIG = _config(text="#1f2328", quiet="#59636e", line="#d9dee3", ground=None)
DARK_CONFIG = _config(text="#e6edf3", quiet="#9aa4af", line="#2d333b", ground=None)
