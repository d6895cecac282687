"""The templates of the site."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.report.site.changes import moment
from perfkit.report.site.runs import first_line
from perfkit.tables import sentence_html
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    import jinja2

__all__ = ["TEMPLATES", "edition", "read_template", "render", "script_json"]

TEMPLATES = Path(__file__).parent / "templates"
_SITE = TEMPLATES / "site"


def render(template: str, **values: Any) -> str:
    """One page of the site as text."""
    return _environment().get_template(template).render(style=read_template("style.css"), **values)


@functools.cache
def read_template(name: str) -> str:
    """A style sheet or script of the site."""
    return (_SITE / name).read_text(encoding="utf-8")


@functools.cache
def edition() -> str:
    """What changes when a template or the code around it does: pages of another edition are written anew."""
    digest = hashlib.sha256()
    for file in sorted((*_SITE.iterdir(), *Path(__file__).parent.glob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def script_json(value: Any) -> str:
    """Data for a script within HTML: nothing in it can end the script.

    >>> script_json({"name": "</script>"})
    '{"name":"\\\\u003c/script>"}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_SITE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["first_line"] = first_line
    environment.filters["moment"] = moment
    environment.filters["prose"] = lambda sentence: sentence_html(sentence[:1].upper() + sentence[1:])
    environment.filters["duration"] = lambda seconds: format_duration(seconds * 1e9)
    environment.filters["size"] = format_bytes
    return environment
