"""Decide which method moves a payload: plan compiler, decisions, engine. Standard library only."""

from __future__ import annotations

from perfkit.engine.decision import Decision, Explanation
from perfkit.engine.engine import Binding, Engine
from perfkit.engine.plan_diff import PlanDiff, diff_plans
from perfkit.engine.status import Health, Statistics
from perfkit.engine.view import PlanView

__all__ = ["Binding", "Decision", "Engine", "Explanation", "Health", "PlanDiff", "PlanView", "Statistics", "diff_plans"]
