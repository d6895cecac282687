"""Experiments: variants compared at the unit that was randomised. `perfkit.ab` is the front door."""

from __future__ import annotations

from perfkit.stats.experiments.comparing import ab
from perfkit.stats.experiments.estimates import Estimate
from perfkit.stats.experiments.result import ABResult, Excluded, Guardrail, MetricEffect, SampleRatio, Segment
from perfkit.stats.experiments.units import Arm

__all__ = ["ABResult", "Arm", "Estimate", "Excluded", "Guardrail", "MetricEffect", "SampleRatio", "Segment", "ab"]
