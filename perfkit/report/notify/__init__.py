"""Tell people of a run, by webhook and e-mail. A run never fails because nobody could be told."""

from perfkit.report.notify.telling import notify_about, send_test

__all__ = ["notify_about", "send_test"]
