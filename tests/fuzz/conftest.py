"""The harness runs as a program of its own, and imports its parts by their names."""

collect_ignore = ["conversations.py", "fuzz_frames.py", "live.py", "resources.py"]
