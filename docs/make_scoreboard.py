"""Write the scoreboard's page from what `perfkit scoreboard --full --output FILE` left (`make scoreboard`).

`python docs/make_scoreboard.py FILE` writes all of it; with `--update` it replaces or adds the entries of FILE only.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from perfkit.workflows.scoreboard.result import MET, NOT_MET, UNDECIDED, Failure, Figure, Scoreboard

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


_UPDATED = """This page was put together from several runs with the same seed, for different entries.
`make scoreboard` writes it anew, whole.
"""
_ENTRY = re.compile(r"^`--only (\S+)`$", re.MULTILINE)
_VERDICT = re.compile(rf"\| ({MET}|{NOT_MET}|{UNDECIDED}) \|$", re.MULTILINE)


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
    parts += _sections(board).values()
    parts += [f"`{one.entry}` failed: {one.message}\n" for one in board.failures]
    host = "\n".join(f"| {name} | {value} |" for name, value in board.fingerprint.items())
    parts.append(f"## The host\n\n| | |\n|---|---|\n{host}\n")
    return "\n".join(parts)


def updated_page(page: str, board: Scoreboard) -> str:
    """A page with the entries of a scoreboard in place of, or beside, those that it has; all else stays."""
    beginning, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    host = sections.pop()
    kept = {match.group(1): section for section in sections if (match := _ENTRY.search(section))}
    kept |= {entry: f"{section}\n" for entry, section in _sections(board).items()}
    verdicts = [verdict for section in kept.values() for verdict in _VERDICT.findall(section)]
    met, missed, undecided = map(verdicts.count, (MET, NOT_MET, UNDECIDED))
    sentence = f"{met} of {len(verdicts)} targets met, {missed} {NOT_MET}, {undecided} {UNDECIDED}."
    beginning = re.sub(r"^\d+ of \d+ targets met.*?\.", sentence, beginning, count=1, flags=re.MULTILINE)
    beginning = beginning.partition("This page was put together")[0]
    return "".join((beginning, _UPDATED, "\n", *kept.values(), host))


def _sections(board: Scoreboard) -> dict[str, str]:
    """What the page says of each entry that has figures."""
    head = "| | value | 95 % interval | n | target | |\n|---|--:|--:|--:|--:|---|"
    sections = {}
    for entry, title in board.titles.items():
        rows = [f"| {_row(one)} |" for one in board.figures if one.entry == entry]
        if rows:
            sections[entry] = "\n".join((f"## {title[0].upper()}{title[1:]}\n", f"`--only {entry}`\n", head, *rows, ""))
    return sections


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
    *options, file = sys.argv[1:]
    read = read_scoreboard(json.loads(Path(file).read_text("utf-8")))
    text = updated_page(_PAGE.read_text("utf-8"), read) if options == ["--update"] else scoreboard_page(read)
    _PAGE.write_text(text, "utf-8")
