"""Append rows durably and lightly: one small SQLite file per producer slot, standard library only."""
