"""Faulty methods are imported by the processes under test, not collected as tests."""

collect_ignore = ["faulty_methods.py"]
