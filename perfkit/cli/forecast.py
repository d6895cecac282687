"""`perfkit forecast`: how far this host carries."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, settings_option
from perfkit.cli.output import interruptible, show
from perfkit.units import parse_bytes, parse_duration

__all__ = ["forecast_command"]


@click.command("forecast", short_help="Forecast demand, and say how far this host carries.")
@click.option("--ladder", metavar="FILE", type=click.Path(path_type=Path), help="CSV: concurrency, throughput.")
@click.option("--demand", metavar="FILE", type=click.Path(path_type=Path), help="CSV: time, value.")
@click.option("--lake", help="Read here what is not given.  [default: data/lake, where neither file is given]")
@click.option("--run", help="Run of the lake whose ladder counts; default: the newest of this host.")
@click.option("--method", help="Method of the ladder, and of transfers that are not read from a lake.")
@click.option("--size", help="Payload size of these, such as 64KiB.")
@click.option(
    "--quantity",
    type=click.Choice(["transfers", "bytes"]),
    default="transfers",
    show_default=True,
    help="Of the lake's traffic: transfers per second, or MiB per second.",
)
@click.option("--at", metavar="N", type=float, help="Throughput at this concurrency; up to 1.3 times the measured.")
@click.option("--limit", type=float, help="When demand reaches this; default: what gives way first.")
@click.option("--horizon", help="How far ahead, such as 30d; default: 2 days, of daily values 28.")
@click.option("--what-if", help="Such as rate=2x,size=1.5x,workers=8,cores=4,memory=4GiB.")
@click.option("--workers", type=click.IntRange(min=1), help="Transfers that are served at once.")
@click.option("--cores", type=click.IntRange(min=1), help="Processor cores.")
@click.option("--memory", help="Memory that payloads under way may take, such as 2GiB.")
@click.option("--latency", help="Mean time of one transfer, such as 3ms.")
@click.option("--cpu", help="Processor time of one transfer, both sides, such as 1ms.")
@click.option("--resident", help="Memory of one transfer while it is under way, such as 10MiB.")
@click.option("--models", help="Versions of the cost model, or the folder of one.  [default: data/models]")
@settings_option
@json_option
def forecast_command(
    ladder: Path | None,
    demand: Path | None,
    lake: str | None,
    run: str | None,
    method: str | None,
    size: str | None,
    quantity: str,
    at: float | None,
    limit: float | None,
    horizon: str | None,
    what_if: str | None,
    workers: int | None,
    cores: int | None,
    memory: str | None,
    latency: str | None,
    cpu: str | None,
    resident: str | None,
    models: str | None,
    settings: Path,
    as_json: bool,
) -> None:
    """Forecast demand, and say how far this host carries.

    A ladder (`perfkit bench --ladder`) gives the Universal Scalability Law:
    how throughput grows with concurrency, and where it peaks. Demand over
    time gives a forecast with bands that a backtest backs, and the date when a
    limit is reached. Together with what one transfer takes they say which of
    workers, cores, memory and the ladder gives way first, and when. With
    neither file both are read from the lake: its newest ladder, and the
    traffic that services recorded, by the hour. What a transfer takes is
    predicted by the cost model in force or the published curves, unless given.
    """
    from perfkit.workflows.forecast import Host, forecast

    existing(settings)
    thresholds = settings.with_name("thresholds.toml")
    with interruptible("nothing was changed"):
        host = Host(
            workers=workers,
            cores=cores,
            memory_bytes=None if memory is None else parse_bytes(memory),
            latency_s=None if latency is None else parse_duration(latency) / 1e9,
            cpu_s=None if cpu is None else parse_duration(cpu) / 1e9,
            resident_bytes=None if resident is None else parse_bytes(resident),
        )
        result = forecast(
            ladder=ladder,
            demand=demand,
            lake=lake,
            run=run,
            method=method,
            size=size,
            quantity=quantity,
            at=at,
            limit=limit,
            horizon=horizon,
            what_if=what_if,
            host=host if host != Host() else None,
            models=models,
            thresholds=thresholds,
        )
    show(result, as_json=as_json)
