"""The harness of the channel runs as a program of its own, and imports its parts by their names."""

collect_ignore = ["channel_forks.py", "channel_harness.py", "channel_parties.py"]
