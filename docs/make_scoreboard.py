"""Write the scoreboard's page from what `perfkit scoreboard --full --output` left (`make scoreboard`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from perfkit.workflows.scoreboard.result import Failure, Figure, Scoreboard

_PAGE = Path(__file__).parent / "reference" / "scoreboard.md"

_BEGINNING = """# Scoreboard: the error rates of the statistics

Written by `make scoreboard`, which runs

```console
$ perfkit scoreboard{full} --seed {seed}
```

Every statistic is re-run on worlds whose truth is known ([worlds](../../perfkit/stats/worlds.py)): a rate is the share
of simulated runs in which something happened, with Wilson's 95 % interval and n, the number of runs. A target is *met*
where the whole interval is within it, *not met* where it is outside, else *not decided* at this n. Both sides are
judged: a test that never rejects keeps its false alarms down, too. The seed decides all rates; time and memory are this
host's.

{sentence} Made on {recorded_at} ({minutes:.0f} minutes of processor time).
"""


def scoreboard_page(board: Scoreboard) -> str:
    """The page of a scoreboard."""
    parts = [
        _BEGINNING.format(
            full=" --full" if board.is_full else "",
            seed=board.seed,
            sentence=board.sentence,
            recorded_at=board.recorded_at,
            minutes=sum(board.seconds.values()) / 60,
        )
    ]
    for entry, title in board.titles.items():
        figures = [one for one in board.figures if one.entry == entry]
        rows = [f"| {_row(one)} |" for one in figures]
        if rows:
            head = "| | value | 95 % interval | n | target | |\n|---|--:|--:|--:|--:|---|"
            parts.append("\n".join((f"## {title[0].upper()}{title[1:]}\n", f"`--only {entry}`\n", head, *rows, "")))
    parts += [f"`{one.entry}` failed: {one.message}\n" for one in board.failures]
    host = "\n".join(f"| {name} | {value} |" for name, value in board.fingerprint.items())
    parts.append(f"## The host\n\n| | |\n|---|---|\n{host}\n")
    return "\n".join(parts)


def _row(one: Figure) -> str:
    return " | ".join((one.what, one.shown, one.interval, f"{one.n:,}", one.target, one.verdict))


def read_scoreboard(plain: dict[str, Any]) -> Scoreboard:
    """The scoreboard of its JSON."""
    figures = tuple(
        Figure(
            **{
                name: _unbounded(name, value) if value is None else value
                for name, value in one.items()
                if name != "verdict"
            }
        )
        for one in plain["figures"]
    )
    failures = tuple(Failure(**one) for one in plain["failures"])
    rest = {name: value for name, value in plain.items() if name not in ("verdict", "sentence")}
    return Scoreboard(**{**rest, "figures": figures, "failures": failures})


def _unbounded(name: str, _: None) -> float:
    return {"target_low": float("-inf"), "target_high": float("inf")}.get(name, float("nan"))


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    _PAGE.write_text(scoreboard_page(read_scoreboard(given)), "utf-8")
