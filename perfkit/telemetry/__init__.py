"""Tell others what an engine does: adapters for the standard `logging` and for OpenTelemetry."""

from __future__ import annotations

from perfkit.telemetry.attachment import Attachment
from perfkit.telemetry.opentelemetry import add_to_span, export_to_opentelemetry
from perfkit.telemetry.standard_logging import log_to

__all__ = ["Attachment", "add_to_span", "export_to_opentelemetry", "log_to"]
