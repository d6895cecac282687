"""The text that `perfkit.toml` would have: with an experiment, without it, with a variant's settings as the pool's own.

People write that file. Everything here returns a text to be shown as a difference; nothing here writes it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.toml_text import toml_key, toml_value
from perfkit.errors import InputError

__all__ = ["difference", "experiment_section", "with_pool_changes", "with_switch", "without_experiment"]

_HEADER = re.compile(r"[ \t]*\[\[?([^\]\n]+)\]\]?[ \t]*(#.*)?$")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*=""")


@dataclasses.dataclass(frozen=True, slots=True)
class _Block:
    """A header with the lines up to the next one; comments right above a header are that header's."""

    name: tuple[str, ...]
    lines: tuple[str, ...]

    def belongs_to(self, *name: str) -> bool:
        return self.name[: len(name)] == name


def experiment_section(
    name: str, pools: Sequence[str], shares: Mapping[str, float], changes: Mapping[str, Mapping[str, Any]]
) -> str:
    """The sections of `perfkit.toml` that describe an experiment.

    Args:
        name: of the experiment.
        pools: sections that take part; none for all.
        shares: of the sessions, by variant; the first is the control.
        changes: what each variant has other than its pool, as `perfkit.toml` would hold it.

    >>> print(experiment_section("larger", ["ml"], {"A": 0.5, "B": 0.5}, {"B": {"zero_copy_from": "1MiB"}}))
    [experiments.larger]
    pools = ["ml"]
    <BLANKLINE>
    [experiments.larger.variants.A]  # the control: the pool as it is
    share = "50%"
    <BLANKLINE>
    [experiments.larger.variants.B]
    share = "50%"
    zero_copy_from = "1MiB"
    <BLANKLINE>
    """
    table = f"experiments.{toml_key(name)}"
    lines = [f"[{table}]", *([f"pools = {toml_value(list(pools))}"] if pools else [])]
    for number, (variant, share) in enumerate(shares.items()):
        own = changes.get(variant, {})
        note = "  # the control: the pool as it is" if number == 0 and not own else ""
        lines += ["", f"[{table}.variants.{toml_key(variant)}]{note}", f"share = {toml_value(f'{100 * share:g}%')}"]
        lines += [f"{toml_key(key)} = {toml_value(value)}" for key, value in own.items()]
    return "\n".join(lines) + "\n"


def without_experiment(text: str, name: str) -> str:
    """The text without the sections of an experiment.

    Raises:
        InputError: the experiment is not written as sections of its own.
    """
    blocks = _blocks(text)
    kept = [block for block in blocks if not block.belongs_to("experiments", name)]
    if len(kept) == len(blocks):
        raise InputError(f"experiment {name!r} has no section [experiments.{toml_key(name)}] of its own; edit by hand")
    return _joined(kept, text)


def with_switch(text: str, name: str, *, enabled: bool) -> str:
    """The text with an experiment switched on or off.

    Raises:
        InputError: the experiment is not written as sections of its own.
    """
    blocks = _blocks(text)
    own = [number for number, block in enumerate(blocks) if block.belongs_to("experiments", name)]
    if not own:
        raise InputError(f"experiment {name!r} has no section [experiments.{toml_key(name)}] of its own; edit by hand")
    for number in own:
        if blocks[number].name == ("experiments", name):
            blocks[number] = _with_keys(blocks[number], {"enabled": enabled})
            return _joined(blocks, text)
    header = f"[experiments.{toml_key(name)}]\n"
    _insert(blocks, own[0], _Block(("experiments", name), (header, f"enabled = {toml_value(enabled)}\n")))
    return _joined(blocks, text)


def with_pool_changes(text: str, pool: str, changes: Mapping[str, Any]) -> str:
    """The text with other values in a pool's section; rules come before those that are there.

    Args:
        text: of `perfkit.toml`.
        pool: name of the section.
        changes: values by key, as the file holds them.

    Raises:
        InputError: the pool's section, or its rules, are written in one line.
    """
    blocks = _blocks(text)
    changes = dict(changes)
    rules = [_rule_block(pool, rule) for rule in changes.pop("rules", ())]
    at = next((number for number, block in enumerate(blocks) if block.name == ("pools", pool)), None)
    if at is None:
        if pool in tomllib.loads(text).get("pools", {}) and not any(
            block.belongs_to("pools", pool) for block in blocks
        ):
            raise InputError(f"pool {pool!r} has no section [pools.{toml_key(pool)}] of its own; edit by hand")
        first = next((number for number, block in enumerate(blocks) if block.belongs_to("pools", pool)), len(blocks))
        _insert(blocks, first, _Block(("pools", pool), (f"[pools.{toml_key(pool)}]\n",)))
        at = first
    if rules and any(_key_of(line) == "rules" for line in blocks[at].lines[1:]):
        raise InputError(f"pools.{pool}.rules stand in one line; write them as [[pools.{toml_key(pool)}.rules]] first")
    blocks[at] = _with_keys(blocks[at], changes)
    for number, rule in enumerate(rules, start=at + 1):
        _insert(blocks, number, rule)
    return _joined(blocks, text)


def difference(before: str, after: str, path: str | Path) -> str:
    """What changes, as a patch that `patch` and `git apply -p0` take.

    >>> print(difference("goal = 1\\n", "goal = 2\\n", "perfkit.toml"))
    --- perfkit.toml
    +++ perfkit.toml
    @@ -1 +1 @@
    -goal = 1
    +goal = 2
    <BLANKLINE>
    """
    lines = (one if one.endswith("\n") else f"{one}\n" for one in (before, after))
    old, new = (text.splitlines(keepends=True) for text in lines)
    return "".join(difflib.unified_diff(old, new, str(path), str(path)))


def _blocks(text: str) -> list[_Block]:
    """The text, cut at its headers; joined, the blocks are the text again."""
    lines = text.replace("\r\n", "\n").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    blocks: list[_Block] = []
    begin = 0
    name: tuple[str, ...] = ()
    for number in [*_header_lines(lines), len(lines)]:
        end = number
        while number < len(lines) and end > begin + 1 and lines[end - 1].startswith("#"):
            end -= 1  # a comment right above the header
        if lines[begin:end]:
            blocks.append(_Block(name, tuple(lines[begin:end])))
        if number < len(lines):
            begin, name = end, _name_of(lines[number])
    return blocks


def _header_lines(lines: Sequence[str]) -> list[int]:
    """Numbers of the lines that are headers: those before which the text is whole, so not within a list or a text."""
    found, begin = [], 0
    for number, line in enumerate(lines):
        if _HEADER.match(line.rstrip("\n")) and _is_whole("".join(lines[begin:number])):
            found.append(number)
            begin = number + 1
    return found


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def _name_of(header: str) -> tuple[str, ...]:
    match = _HEADER.match(header.rstrip("\n"))
    assert match is not None
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in _PART.findall(match.group(1)))


def _key_of(line: str) -> str:
    match = _KEY.match(line)
    return match.group(1).strip("\"'") if match else ""


def _with_keys(block: _Block, changes: Mapping[str, Any]) -> _Block:
    """A block whose keys have other values; keys that it lacks come after its last one."""
    head = next(number for number, line in enumerate(block.lines) if _HEADER.match(line.rstrip("\n"))) + 1
    lines, rest = list(block.lines[:head]), list(block.lines[head:])
    left = dict(changes)
    while rest:
        key = _key_of(rest[0])
        taken = next((n for n in range(1, len(rest) + 1) if _is_whole("".join(rest[:n]))), 1) if key else 1
        if key in left:
            lines.append(f"{toml_key(key)} = {toml_value(left.pop(key))}\n")
        else:
            lines += rest[:taken]
        rest = rest[taken:]
    end = len(lines)
    while end > head and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    lines[end:end] = [f"{toml_key(key)} = {toml_value(value)}\n" for key, value in left.items()]
    return dataclasses.replace(block, lines=tuple(lines))


def _rule_block(pool: str, rule: Mapping[str, Any]) -> _Block:
    lines = [f"[[pools.{toml_key(pool)}.rules]]\n", *(f"{toml_key(k)} = {toml_value(v)}\n" for k, v in rule.items())]
    return _Block(("pools", pool, "rules"), tuple(lines))


def _insert(blocks: list[_Block], number: int, block: _Block) -> None:
    """Put a block between two others, with an empty line before and after it."""
    before = "".join(blocks[number - 1].lines) if number else "\n\n"
    start = () if before.endswith("\n\n") or before == "\n" else ("\n",)
    end = ("\n",) if number < len(blocks) else ()
    blocks.insert(number, _Block(block.name, (*start, *block.lines, *end)))


def _joined(blocks: Sequence[_Block], text: str) -> str:
    """The blocks as one text, with the line ends of the text that they come from."""
    joined = "".join(line for block in blocks for line in block.lines).rstrip("\n") + "\n"
    return joined.replace("\n", "\r\n") if "\r\n" in text else joined
