"""The command line. One file per command group: each command parses, calls one function and prints its result."""

from perfkit.cli.app import main

__all__ = ["main"]
