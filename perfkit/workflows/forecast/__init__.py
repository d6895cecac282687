"""How far this host carries: `perfkit.forecast`."""

from __future__ import annotations

from perfkit.workflows.forecast.forecasting import forecast
from perfkit.workflows.forecast.host import Host
from perfkit.workflows.forecast.result import Forecast

__all__ = ["Forecast", "Host", "forecast"]
