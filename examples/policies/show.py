"""What the policies of this folder decide, and who decides where they do not: `python examples/policies/show.py`.

The policies compare figures: run `make run` first, or they leave to the defaults what was not measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import perfkit
from perfkit.units import format_bytes

HERE = Path(__file__).parent
POOLS = {"images": "tensor", "carts": "text", "batch-sales": "tensor"}
FORMATS = {"tensor": "numpy", "text": "json"}


def main(thresholds: str) -> None:
    """Decide for each pool at three sizes, and explain the last decision.

    Args:
        thresholds: what `perfkit publish` wrote.
    """
    with perfkit.Engine.load(HERE / "perfkit.toml", thresholds=thresholds, background=False) as engine:
        for pool, kind in POOLS.items():
            for payload_bytes in (1_000, 1_000_000, 100_000_000):
                decision = engine.decide(payload_bytes, pool=pool, kind=kind, format=FORMATS[kind])
                print(f"{pool:<12} {format_bytes(payload_bytes):>9}: {decision.method:<9} by {decision.source}")
        print(decision.explain(payload_bytes))
        print(engine.health())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(HERE.parents[1] / "thresholds.toml"))
