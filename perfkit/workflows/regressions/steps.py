"""What to do next about a regression: commands that can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.workflows.regressions.result import Change

__all__ = ["recommended_steps"]

_CODEC_STAGES = ("encode", "encode_into", "decode")
_ADVICE = {
    "wait": "Transfers wait longer for a block or connection: `perfkit doctor` checks the room for shared memory",
    "handler": "The receiver's handler takes longer, no method of transfer: profile the service",
    "signal": "Announcing takes longer: `perfkit analyse --by signalling,method{where}` tells which",
    "copy": "Copying takes longer: `perfkit analyse --by method,size_class{where}` shows from which size on",
}


def recommended_steps(regressions: tuple[Change, ...], lake: str, runs: frozenset[str]) -> tuple[str, ...]:
    """What to do about the worst regressions of a lake, most telling first.

    Args:
        regressions: changes for the worse, the largest first.
        lake: folder of the lake.
        runs: ids of its runs: a change between two of them can be compared scenario by scenario.
    """
    path = Path(lake)
    if ".." in path.parts:  # relative to a notebook, where nobody runs commands
        path = path.resolve()
    where = "" if path == Path(DEFAULT_LAKE_PATH) else f" --lake {shlex.quote(str(path))}"
    steps: list[str] = []
    for one in regressions[:3]:
        causes = one.causes
        if any(event.startswith("published") for event in causes.events):
            steps.append(
                "Something was published at the change: `perfkit publish --history` lists the versions, "
                "`perfkit publish --rollback` takes the last one back"
            )
        if causes.host:
            steps.append(
                f"The host is not what it was ({'; '.join(causes.host)}): measure with the old one again, "
                "`perfkit bench`, before the code is blamed"
            )
        if causes.commits:
            steps.append(f"Read the commits in between, the newest first: `git show {causes.commits[0].split()[0]}`")
        if {str(one.index), str(one.index_after)} <= runs:
            steps.append(f"Compare the runs at both sides: `perfkit compare {one.index} {one.index_after}{where}`")
        if causes.stage in _CODEC_STAGES:
            steps.append(f"Coding takes longer: `perfkit analyse --by format,compression{where}` tells which")
        elif causes.stage in _ADVICE:
            steps.append(_ADVICE[causes.stage].format(where=where))
    return tuple(f"{step}." for step in dict.fromkeys(steps))
