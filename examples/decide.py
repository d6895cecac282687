"""A service that asks which way its payloads take.

Run `make run` first for decisions that were measured on this machine; without it perfkit's defaults apply, and
`health()` says so.
"""

import sys
from pathlib import Path

import perfkit


def main(settings: str) -> None:
    """Decide for a few payloads of two streams, and explain the last decision."""
    engine = perfkit.Engine.load(settings)
    # One handle per stream of payloads: what does not change from payload to payload is looked up once.
    tensors = engine.bind(kind="tensor", format="numpy")
    tables = engine.bind(kind="dataframe", format="arrow", compression="lz4")
    for payload_bytes in (4_096, 256_000, 1_000_000, 100_000_000):
        print(f"{payload_bytes:>11,} bytes: tensor by {tensors.decide(payload_bytes).method}", end=", ")
        print(f"table by {tables.decide(payload_bytes).method}")
    print(tensors.decide(1_000_000).explain(1_000_000))
    print(engine.health())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent.parent / "perfkit.toml"))
