"""Print the tutorial as a page: `notebooks/00_tutorial.ipynb` is its one source (`make tutorial`)."""

from __future__ import annotations

import logging
from pathlib import Path

from nbconvert import MarkdownExporter

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "00_tutorial.ipynb"


def tutorial_page() -> str:
    """The page, with links that start from its own folder."""
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    text, _ = MarkdownExporter().from_filename(str(NOTEBOOK))
    return text.replace("](../docs/", "](").strip() + "\n"


if __name__ == "__main__":
    print(tutorial_page(), end="")
