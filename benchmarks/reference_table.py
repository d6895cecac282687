"""Write docs/reference-table.md: every method from 1 KiB to 1 GiB, offset-only, copied, touched and cold.

    python benchmarks/reference_table.py [--budget 15min] [--output docs/reference-table.md]

The scenarios are those of reference_table.toml; figures are medians with their 95 % interval over launches and rounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import perfkit
from perfkit.measurement.summaries import Summary
from perfkit.measurement.sweep import Progress
from perfkit.units import format_bytes, parse_duration
from perfkit.workflows.bench_result import BenchResult, format_latency

HERE = Path(__file__).parent
METHODS = ("uds", "grpc", "grpc_stream", "shm_pool", "shm")
SECTIONS = (
    ("Copied", "Write and send: the normal case.", "copied", False, "warm"),
    ("Touched", "The receiver also reads every byte.", "copied", True, "warm"),
    ("Cold", "The first send of a fresh sender with fresh memory.", "copied", False, "cold"),
    ("Offset-only", "Born in a pool block; the producer's write is not timed.", "in_place", False, "warm"),
    ("In place, touched", "As before, and the receiver reads every byte.", "in_place", True, "warm"),
)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default=None, help="time to spend, such as 15min (default: that of the TOML file)")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "reference-table.md")
    options = parser.parse_args()
    budget_s = None if options.budget is None else parse_duration(options.budget) / 1e9
    result = perfkit.bench(
        scenarios=HERE / "reference_table.toml", budget_s=budget_s, lake=None, progress=show_progress
    )
    options.output.write_text(to_markdown(result), encoding="utf-8")
    print(f"{options.output}: {len(result.observations):,} sends in {result.seconds:.0f} s")


def show_progress(progress: Progress) -> None:
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{progress.seconds_left:4.0f} s left  {progress.label}")


def to_markdown(result: BenchResult) -> str:
    """The page: what was measured where, then one table per variant."""
    lines = [
        "# Reference table",
        "",
        "Payload in process A to readable payload in process B plus the acknowledgement, one transfer at a time, back",
        "to back. Medians with the half-width of their 95 % interval over launches; written by `make reference-table`.",
        "Measure your own machine before you rely on them.",
        "",
        f"Run {result.run_id}: {len(result.observations):,} sends, {result.launches} launches, {result.rounds} rounds, "
        f"{result.seconds:.0f} s, status {result.status}.",
        "",
        *(f"* {name}: {value}" for name, value in sorted(result.fingerprint.items())),
        "",
        *(f"> {warning}" for warning in result.warnings),
    ]
    for title, sentence, placement, touched, temperature in SECTIONS:
        chosen = [
            summary
            for summary in result.summaries
            if (summary.placement, summary.touched, summary.temperature) == (placement, touched, temperature)
            and summary.stage == "transport"
        ]
        lines += ["", f"## {title}", "", sentence, "", *section(chosen)]
    return "\n".join(lines) + "\n"


def section(summaries: list[Summary]) -> list[str]:
    """One table: payload down, methods across."""
    methods = [method for method in METHODS if any(summary.method == method for summary in summaries)]
    cells = {(summary.payload_bytes, summary.method): summary.latency_ns for summary in summaries}
    rows = ["| payload | " + " | ".join(methods) + " |", "|---:|" + "---:|" * len(methods)]
    for payload_bytes in sorted({size for size, _ in cells}):
        figures = []
        for method in methods:
            estimate = cells.get((payload_bytes, method))
            figures.append(format_latency(estimate) or "-")
        rows.append(f"| {format_bytes(payload_bytes)} | " + " | ".join(figures) + " |")
    return rows


if __name__ == "__main__":
    main()
