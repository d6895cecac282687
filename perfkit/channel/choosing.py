"""Which codec carries a payload and which method the engine takes for it, remembered by the payload's type."""

from __future__ import annotations

from typing import Any

from perfkit.channel.born import BlockArray, BlockTable
from perfkit.channel.loading import LANE_METHODS
from perfkit.config.settings import Settings
from perfkit.engine import Binding, Decision, Engine
from perfkit.engine.loading import Loaded
from perfkit.engine.plan import Publication
from perfkit.errors import CodecError, UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.transfer.codecs import FORMATS_OF_KIND, Codec, detect, get_codec

__all__ = ["Chooser", "Way", "default_engine"]

_MAX_WAYS = 1024
_MAX_ORDERS = 1024
_QUICK_BYTES = 64 * 2**10
"""Bytes that every peer takes over a socket: below, the choice of a carrier needs no thought."""


class Way:
    """How payloads of one type travel: the codec, and the engine's binding for it."""

    __slots__ = ("binding", "codec", "has_size", "is_born", "names")

    def __init__(self, codec: Codec, binding: Binding, *, has_size: bool, is_born: bool) -> None:
        self.codec, self.binding, self.has_size, self.is_born = codec, binding, has_size, is_born
        self.names = (codec.kind, codec.format, codec.compression)


class Chooser:
    """Asks the engine, once per type of payload, then by lookup.

    Args:
        engine: decides.
        pool: for which pool of workers.
        methods: that this machine and the peer have, from simple to complicated.
        allow_pickle: whether both sides asked for it.
    """

    def __init__(self, engine: Engine, pool: str, methods: tuple[str, ...], *, allow_pickle: bool = False) -> None:
        self.engine, self.methods = engine, methods
        self.quick_bytes = _QUICK_BYTES if "uds" in methods else -1
        self._pool, self._allow_pickle = pool, allow_pickle
        self._ways: dict[tuple[type, str | None, str | None, str], Way] = {}
        self._orders: dict[int, tuple[Decision, tuple[str, ...]]] = {}
        self._generation = engine.generation
        self._awaits_publication = False

    def way(self, payload: Any, kind: str | None = None, format: str | None = None, compression: str = "none") -> Way:  # noqa: A002
        """How a payload travels.

        Args:
            payload: what to send.
            kind: tensor, dataframe, binary or text; by default what the payload is.
            format: one of that kind's; by default its natural one.
            compression: none, lz4 or zstd.

        Raises:
            CodecError: nothing carries it, or it is a pickle and not both sides asked for it.
            UnknownNameError: there is no such kind, format or compression.
        """
        if self._awaits_publication and self._generation != self.engine.generation:
            self._generation = self.engine.generation
            self._ways.clear()  # bindings follow the plan; which methods they choose from may change once, here
        key = (payload.__class__, kind, format, compression)
        way = self._ways.get(key)
        return self._make_way(key, payload) if way is None else way

    def order(self, decision: Decision) -> tuple[str, ...]:
        """The methods to try: the one that was decided, then the others, the cheapest first.

        Later come those that the pool does not want here, and last those that the plan leaves alone now, because their
        circuit breaker is open or the arena is exhausted.
        """
        # By identity: a name does not say which methods are left alone. A decision that is kept keeps its number.
        known = self._orders.get(id(decision))
        if known is not None:
            return known[1]
        cell, wanted = decision.cell, decision.part.candidates
        excluded = cell.circumstances.exclusions(in_place=cell.context.in_place)
        others = sorted(
            dict.fromkeys((*decision.explain().costs, *wanted, *SIMPLICITY_ORDER)),
            key=lambda name: (name in excluded, name not in wanted),  # otherwise in the order of their costs
        )
        order = tuple(name for name in dict.fromkeys((decision.method, *others)) if name in self.methods)
        if len(self._orders) >= _MAX_ORDERS:
            self._orders.clear()
        self._orders[id(decision)] = decision, order
        return order

    def _offered(self) -> tuple[str, ...]:
        """What the engine chooses from: without published thresholds, no gRPC where there are lanes.

        The engine's fixed defaults take gRPC for small payloads, because any service has it. A channel has a socket.
        """
        lanes = tuple(name for name in self.methods if name in LANE_METHODS)
        self._awaits_publication = bool(lanes) and self.engine.health().version is None
        return lanes if self._awaits_publication else self.methods

    def _make_way(self, key: tuple[type, str | None, str | None, str], payload: Any) -> Way:
        _, kind, format_name, compression = key
        is_born = isinstance(payload, BlockArray | BlockTable)
        if kind is None or format_name is None:
            natural = _natural(payload, kind)
            kind, format_name = kind or natural[0], format_name or natural[1]
        if format_name == "pickle" and not self._allow_pickle:
            raise CodecError(
                "format 'pickle' runs code chosen by the other side while it decodes; pass allow_pickle=True to "
                "connect() and to serve() if each trusts the other"
            )
        codec = get_codec(kind, format_name, compression, allow_pickle=self._allow_pickle)
        is_born = is_born and compression == "none" and (kind, format_name) in _BORN_AS
        binding = self.engine.bind(
            pool=self._pool,
            kind=kind,
            format=format_name,
            compression=compression,
            available=self._offered(),
            in_place=is_born,
        )
        way = Way(codec, binding, has_size=hasattr(payload, "nbytes"), is_born=is_born)
        if len(self._ways) < _MAX_WAYS:
            self._ways[key] = way
        return way


_BORN_AS = (("tensor", "numpy"), ("dataframe", "arrow"))


def _natural(payload: Any, kind: str | None) -> tuple[str, str]:
    """Kind and format of a payload where the caller did not name both."""
    if kind is not None:
        if kind not in FORMATS_OF_KIND:
            raise UnknownNameError("kind", kind, FORMATS_OF_KIND)
        return kind, FORMATS_OF_KIND[kind][0]
    return ("dataframe", "arrow") if isinstance(payload, BlockTable) else detect(payload)


def default_engine() -> Engine:
    """An engine without files: the defaults."""
    return Engine(Loaded(Settings(), Publication()))
