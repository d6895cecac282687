"""Codecs: how a payload of one kind becomes bytes in one format, and a readable payload again.

`get_codec` gives the codec of a kind, format and compression, `detect` the natural kind and format of a payload,
`supported` all there are, `decode` reads what any of them wrote. See docs/reference/codecs.md for what is copied where.
"""

from perfkit.transfer.codecs.codec import Codec
from perfkit.transfer.codecs.registry import FORMATS_OF_KIND, decode, detect, get_codec, supported

__all__ = ["FORMATS_OF_KIND", "Codec", "decode", "detect", "get_codec", "supported"]
