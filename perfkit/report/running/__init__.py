"""Run notebooks as a pipeline: check what they are given, execute each in a process of its own."""
