"""What a transfer's time is made of: stages, fixed cost, cost per byte - read from the fitted curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from perfkit.config.curves import ANY, CodecEntry, CostCurve
from perfkit.engine.costs import Composition, Context, compose, cost_at
from perfkit.learn import Fit
from perfkit.schema import COMPRESSIONS, KINDS

__all__ = ["Dominance", "StageShares", "codec_name", "collect_dominance", "collect_stages"]

_LARGEST_BYTES = 2.0**50  # no payload is larger: where fixed cost dominates up to here, it dominates everywhere


@dataclasses.dataclass(frozen=True, slots=True)
class StageShares:
    """What one transfer spends on encoding, on its way, and on decoding, composed from what was measured apart.

    Args:
        method, kind, format, compression: what is transferred, and how.
        payload_bytes: size before encoding.
        encode_ns, transport_ns, decode_ns: expected time of each stage.
        total_ns, low_ns, high_ns: expected time of all three with its 95 % interval.
        codec_share: share of encoding and decoding, 0 to 1; `codec_low` and `codec_high` are its 95 % interval.
        n: observations behind the thinnest stage.
        measured: False where a stage is an estimate, outside what was measured.
    """

    method: str
    kind: str
    format: str
    compression: str
    payload_bytes: int
    encode_ns: float
    transport_ns: float
    decode_ns: float
    total_ns: float
    low_ns: float
    high_ns: float
    codec_share: float
    codec_low: float
    codec_high: float
    n: int
    measured: bool

    @property
    def codec(self) -> str:
        """Kind, format and compression in one."""
        return codec_name(self.kind, self.format, self.compression)


@dataclasses.dataclass(frozen=True, slots=True)
class Dominance:
    """From which size on the bytes of a payload cost more than the transfer as such.

    Args:
        method: transfer method; raw bytes, one in flight, copied.
        fixed_ns: what a transfer costs before its first byte, with the 95 % interval `fixed_low_ns` to `fixed_high_ns`.
        even_bytes: size at which the bytes cost as much as that; below, the fixed cost dominates. Infinite where it
            never does so, 0 where there is no fixed cost. `even_low` and `even_high` are the sizes between which it
            is, as far as the curve's 95 % interval tells (the fixed cost held at its estimate).
        shares: share of the fixed cost at each of the sizes in `sizes`, 0 to 1.
        sizes: payloads in bytes.
        bytes_per_s: what the largest of these sizes moves in a second.
        n: observations behind the curve.
    """

    method: str
    fixed_ns: float
    fixed_low_ns: float
    fixed_high_ns: float
    even_bytes: float
    even_low: float
    even_high: float
    shares: tuple[float, ...]
    sizes: tuple[int, ...]
    bytes_per_s: float
    n: int

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold; a size that is never reached is None."""
        plain = dataclasses.asdict(self)
        return {name: None if value == math.inf else value for name, value in plain.items()}


def codec_name(kind: str, format_name: str, compression: str) -> str:
    """Kind, format and compression as people name them.

    >>> codec_name("tensor", "numpy", "none"), codec_name("binary", "raw", "lz4")
    ('tensor as numpy', 'binary as raw, lz4')
    """
    return f"{kind} as {format_name}" + ("" if compression == "none" else f", {compression}")


def collect_stages(fit: Fit, sizes: Sequence[int]) -> tuple[StageShares, ...]:
    """The stages of every method, codec and size that the fit knows.

    Args:
        fit: what was learned.
        sizes: payloads in bytes.
    """
    found = []
    for codec in _codecs(fit):
        context = fit.context(kind=codec.kind, format=codec.format, compression=codec.compression, signalling="uds")
        for method in fit.methods:
            composition = compose(fit.curves, method, context)
            if composition is None:
                continue
            found += [_stage_shares(method, context, size, composition) for size in sizes]
    return tuple(found)


def _codecs(fit: Fit) -> list[CodecEntry]:
    """The codecs that were measured, raw bytes without any first."""
    plain = CodecEntry("binary", "raw", "none", 1.0, False)
    measured = [dataclasses.replace(one, kind=KINDS[0] if one.kind == ANY else one.kind) for one in fit.curves.codecs]
    others = [one for one in measured if (one.kind, one.format, one.compression) != ("binary", "raw", "none")]
    return [plain, *sorted(others, key=lambda one: (one.kind, one.format, COMPRESSIONS.index(one.compression)))]


def _stage_shares(method: str, context: Context, payload_bytes: int, composition: Composition) -> StageShares:
    cost = cost_at(composition, payload_bytes)
    share, low, high = _codec_share(composition, payload_bytes)
    return StageShares(
        method,
        context.kind,
        context.format,
        context.compression,
        payload_bytes,
        cost.parts["encode"],
        cost.parts["transport"],
        cost.parts["decode"],
        cost.value,
        cost.low,
        cost.high,
        share,
        low,
        high,
        cost.n,
        cost.measured,
    )


def _codec_share(composition: Composition, payload_bytes: int) -> tuple[float, float, float]:
    """Share of encoding and decoding with its 95 % interval: the ratio of independent parts, on the log scale."""
    codec, codec_low, codec_high = _sum_of(composition, payload_bytes, codec=True)
    way, way_low, way_high = _sum_of(composition, payload_bytes, codec=False)
    if codec <= 0 or way <= 0:
        share = float(codec > 0)
        return share, share, share
    ratio = math.log(codec / way)
    low = ratio - math.hypot(codec_low, way_high)
    high = ratio + math.hypot(codec_high, way_low)
    return _share(ratio), _share(low), _share(high)


def _sum_of(composition: Composition, payload_bytes: int, *, codec: bool) -> tuple[float, float, float]:
    """The cost of the codec's parts or of the transport, and how far its interval reaches to either side, as logs."""
    parts = [
        part.value_and_half_widths(payload_bytes) for part in composition.parts if (part.stage != "transport") is codec
    ]
    value = sum(one for one, _, _ in parts)
    if value <= 0:
        return 0.0, 0.0, 0.0
    below, above = (math.hypot(*(part[side] for part in parts)) for side in (1, 2))
    return value, -math.log(max(1 - below / value, 1e-3)), math.log(1 + above / value)


def _share(log_ratio: float) -> float:
    return 1 / (1 + math.exp(-log_ratio))


def collect_dominance(fit: Fit, sizes: Sequence[int]) -> tuple[Dominance, ...]:
    """Where the fixed cost of each method that was measured at several sizes dominates: raw bytes, one in flight.

    Args:
        fit: what was learned.
        sizes: payloads in bytes at which shares are given, ascending.
    """
    context = fit.context(signalling="uds")
    compositions = [compose(fit.curves, method, context) for method in fit.methods]
    curves = {one.method: one.parts[0].curve for one in compositions if one is not None}
    # Of a single size nobody knows which part of the cost is fixed.
    return tuple(
        _dominance(method, curve, sizes) for method, curve in curves.items() if curve.min_bytes < curve.max_bytes
    )


def _dominance(method: str, curve: CostCurve, sizes: Sequence[int]) -> Dominance:
    fixed = max(curve.pieces[0].fixed, 0.0)
    low, high = curve.relative_interval(max(curve.min_bytes, 1.0))

    def is_even(cost: float) -> bool:
        return cost >= 2 * fixed

    return Dominance(
        method,
        fixed,
        fixed * low,
        fixed * high,
        _first_size(lambda size: is_even(curve.at(size))),
        _first_size(lambda size: is_even(curve.interval(size)[1])),
        _first_size(lambda size: is_even(curve.interval(size)[0])),
        tuple(fixed / curve.at(size) for size in sizes),
        tuple(sizes),
        sizes[-1] / curve.at(sizes[-1]) * 1e9,
        curve.n,
    )


def _first_size(is_reached: Callable[[float], bool]) -> float:
    """The size from which on a condition holds; 0 where it always does, infinite where it never does."""
    if is_reached(1.0):
        return 0.0
    low, high = 0.0, math.log2(_LARGEST_BYTES)
    if not is_reached(math.exp2(high)):
        return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if is_reached(math.exp2(middle)) else (middle, high)
    return math.exp2(high)
