"""The drawing library as one script, made once per version and kept: making it takes longer than importing all else."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata

from perfkit.report.whole_files import write_whole

__all__ = ["bundle"]

_END = "\n/* the end of a bundle of perfkit */\n"
"""What was cut short, or never reached the disk, does not end like this: it is made again."""


@functools.cache
def bundle(source: str) -> str:
    """A script together with all that it uses of the drawing library; it loads nothing from a network.

    It is kept in the user's cache folder, such as `~/.cache/perfkit`; where that cannot be written, it is made again.

    Args:
        source: JavaScript that uses `vegaEmbed`.
    """
    from platformdirs import user_cache_path

    version = hashlib.sha256(f"{importlib.metadata.version('vl-convert-python')}\n{source}".encode()).hexdigest()[:16]
    kept = user_cache_path("perfkit", appauthor=False) / f"charts-{version}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = kept.read_text(encoding="utf-8")
        if text.endswith(_END):
            return text
    import vl_convert

    made = str(vl_convert.javascript_bundle(source)) + _END
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, made)
    return made
