"""`perfkit predict`: what a transfer will cost, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfkit.cli.options import existing, json_option, settings_option
from perfkit.cli.output import show
from perfkit.errors import InputError

__all__ = ["predict_command"]


@click.command("predict", short_help="Predict what transfers of each SIZE will cost.")
@click.argument("sizes", nargs=-1, metavar="[SIZE]...")
@click.option("--method", help="Transfer method; without it every known one, cheapest first.")
@click.option("--kind", default="binary", show_default=True, help="tensor, dataframe, binary or text.")
@click.option("--format", "format_name", default="raw", show_default=True, help="numpy, arrow, …, json or raw.")
@click.option("--compression", default="none", show_default=True, help="none, lz4 or zstd.")
@click.option("--signalling", default="uds", show_default=True, help="How a block is announced: uds or grpc.")
@click.option("--in-place", is_flag=True, help="The payload is born in a block of the pool.")
@click.option("--in-flight", type=int, default=1, show_default=True, help="Sends under way at once.")
@click.option("--available-memory", metavar="SIZE", help="Memory available on the host, such as 2GiB.")
@click.option("--hour", type=float, help="Hour of the day in UTC, 0 to 24.")
@click.option("--batch", type=click.Path(path_type=Path), help="A CSV, Parquet or Arrow file: payload_bytes and more.")
@click.option("--models", help="Versions of the cost model, or the folder of one.  [default: data/models]")
@settings_option
@json_option
def predict_command(
    sizes: tuple[str, ...],
    method: str | None,
    kind: str,
    format_name: str,
    compression: str,
    signalling: str,
    in_place: bool,
    in_flight: int,
    available_memory: str | None,
    hour: float | None,
    batch: Path | None,
    models: str | None,
    settings: Path,
    as_json: bool,
) -> None:
    """Predict latency, CPU time, memory and throughput of payloads of each SIZE.

    By the cost model in force (`perfkit learn`), with intervals of single
    transfers; without one by the published curves, with intervals of medians.
    With --batch a table of transfers: its columns are named as the keys of
    --json, and what it lacks is as the options say.
    """
    if bool(sizes) == (batch is not None):
        raise InputError("give payload sizes such as 10MiB, or --batch with a file of them, and not both")
    existing(settings)
    from perfkit.workflows.predict import predict
    from perfkit.workflows.row_files import read_frame

    conditions: dict[str, Any] = {
        "method": [method] if method is not None else None,
        "kind": kind,
        "format": format_name,
        "compression": compression,
        "signalling": signalling,
        "placement": "in_place" if in_place else "copied",
        "in_flight": in_flight,
        "available_bytes": available_memory,
        "hour": hour,
    }
    asked = list(sizes) if batch is None else read_frame(batch)
    found = predict(asked, **conditions, model=models, thresholds=settings.with_name("thresholds.toml"))
    # Tools meet one shape, however many rows there are; a person who asks for one transfer sees all of it.
    show(found if as_json or len(found) > 1 else found[0], as_json=as_json)
