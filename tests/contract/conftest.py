"""The method of one's own is imported by the processes under test, not collected as a test."""

collect_ignore = ["own_method.py"]
