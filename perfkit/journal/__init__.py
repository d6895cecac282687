"""Append rows durably and lightly: one small SQLite file per producer slot, standard library only."""

from perfkit.journal.buffering import Writer
from perfkit.journal.journal import Journal, JournalStatistics, open_journal

__all__ = ["Journal", "JournalStatistics", "Writer", "open_journal"]
