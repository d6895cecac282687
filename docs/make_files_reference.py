"""Write the tables of settings in `docs/reference/files.md` from what the reader goes by (`make files-reference`)."""

from __future__ import annotations

import re
from pathlib import Path

from perfkit.config.reference import settings_table

PAGE = Path(__file__).parent / "reference" / "files.md"
_BLOCK = re.compile(r"(<!-- settings: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def files_page(text: str) -> str:
    """The page with every table between its two comments made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{settings_table(*block[2].split())}\n{block[4]}", text)


if __name__ == "__main__":
    PAGE.write_text(files_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
