"""When pipelines run: cron schedules, and what systemd, cron and Windows need to keep them."""

from perfkit.report.schedule.times import due_times, expected_period

__all__ = ["due_times", "expected_period"]
