"""Processes that are killed at a named point of their work."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_FORKS = """
import functools, importlib, os, signal, sys, traceback
import deltalake, ibis, pyarrow.dataset
import perfkit.lake.maintenance, perfkit.lake.migration
from perfkit.lake import open_lake

def work(task, lake, where, call, when):
    module, names = where.split(":")
    *path, name = names.split(".")
    home, left = functools.reduce(getattr, path, importlib.import_module(module)), int(call)
    real = getattr(home, name)

    def killed(*arguments, **options):
        nonlocal left
        left -= 1
        if left == 0 and when == "after":
            real(*arguments, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(home, name, killed)
    module, name = task.split(":")
    getattr(importlib.import_module(module), name)(open_lake(lake), **TASK_OPTIONS.get(name, {}))

TASK_OPTIONS = {"maintain": {"keep_replaced_hours": 0}}
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            work(*line.rstrip("\\n").split("\\t"))
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # it should have been killed
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once, then forks for every task: to start a process with these libraries takes longer than its work."""


@pytest.fixture(scope="session")
def kill_at() -> Iterator[Callable[[str, Path, str, int, str], None]]:
    """Run a task on a lake in a process that kills itself when it calls a function: exactly there, on every machine.

    It takes the task and the function (``module:name``; a method's is ``module:Class.name``), which call of it is the
    last, and whether to die ``before`` it or ``after`` it.
    """
    with subprocess.Popen([sys.executable, "-c", _FORKS], stdin=-1, stdout=-1, text=True) as forks:
        assert forks.stdin is not None
        assert forks.stdout is not None

        def kill(task: str, lake: Path, where: str, call: int, when: str) -> None:
            print(task, lake, where, call, when, sep="\t", file=forks.stdin, flush=True)
            status = int(forks.stdout.readline())  # type: ignore[union-attr]
            assert status == signal.SIGKILL, f"{task} ended before call {call} of {where}"

        yield kill
        forks.stdin.close()
