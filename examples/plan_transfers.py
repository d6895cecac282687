"""A small planning tool: what a stream of transfers needs of this host.

It reads what `perfkit predict --json` prints (docs/reference/predictions.md) and nothing else of perfkit:

    perfkit predict 64KiB 10MiB --in-flight 4 --json | python examples/plan_transfers.py --per-second 200
"""

import argparse
import json
import sys
from typing import Any, TextIO

MOST_BUSY = 0.7
"""Beyond this share of the time queues grow quickly, and a median of costs is not their mean."""


def read_predictions(stream: TextIO) -> dict[str, Any]:
    """The JSON object: the last line, after whatever a person was told."""
    lines = stream.read().splitlines()
    answer = json.loads(lines[-1]) if lines else {"error": {"message": "nothing to read"}}
    if "error" in answer:
        raise SystemExit(f"no plan: {answer['error']['message']}")
    return dict(answer)


def cheapest(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per payload size: the first, as methods come cheapest first."""
    first: dict[float, dict[str, Any]] = {}
    for entry in predictions:
        first.setdefault(entry["payload_bytes"], entry)
    return list(first.values())


def describe(entry: dict[str, Any], per_second: float) -> tuple[str, bool]:
    """One line about a stream of such transfers, and whether it fits."""
    name = f"{entry['payload_bytes']:>13,.0f} bytes by {entry['method']}"
    latency, cpu, memory = (entry[key] for key in ("latency_ns", "cpu_ns", "resident_bytes"))
    if latency is None:
        return f"{name}: nobody knows how long they take", False
    busy = per_second * latency["value"] / 1e9 / entry["in_flight"]  # Little's law
    parts = [f"busy {busy:.1%} of the time"]
    if cpu is not None:
        parts.append(f"{per_second * cpu['value'] / 1e9:.2f} cores")
    if memory is not None:
        parts.append(f"{entry['in_flight'] * memory['value'] / 2**20:.1f} MiB")
    if latency["high"] is not None:
        parts.append(f"{latency['interval_of']} up to {latency['high'] / 1e6:.3g} ms ({latency['level']:.0%})")
    fits = busy <= MOST_BUSY
    return f"{name}: {', '.join(parts)}: {'fits' if fits else 'does not fit'}", fits


def main(arguments: list[str]) -> int:
    """Print a line per payload size; 0 where all fit, 1 where one does not or nothing is known."""
    parser = argparse.ArgumentParser(description="What a stream of transfers needs, from `perfkit predict --json`.")
    parser.add_argument("--per-second", type=float, required=True, help="transfers of each size per second")
    per_second = parser.parse_args(arguments).per_second
    answer = read_predictions(sys.stdin)
    described = [describe(entry, per_second) for entry in cheapest(answer["predictions"])]
    for line, _ in described:
        print(line)
    for warning in answer["warnings"]:
        print(f"! {warning}")
    return 0 if all(fits for _, fits in described) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
