"""What decisions rest on, in one object: replaced as a whole, so that none of them mixes two plans."""

from __future__ import annotations

import dataclasses
import time

from perfkit.config.settings import DEFAULT_POOL
from perfkit.engine.costs import Context
from perfkit.engine.decision import ReadyDecisions, ready_decisions
from perfkit.engine.loading import Files, Loaded, load_files
from perfkit.engine.plan import Cell, compile_cell, known_methods
from perfkit.errors import ConfigError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = ["InForce", "Names", "put_in_force", "read_again", "replace_unknown"]

Names = tuple[str, str, str, str, str]
"""What `decide` is asked with: pool, kind, format, compression, signalling."""

_PAUSE_S = 0.001


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """A plan in force. Only what is compiled when it is first asked for is added to it.

    Args:
        loaded: settings and publication that it is compiled from.
        generation: number of this plan among those of its engine, from 1.
        methods: methods that may be taken where a caller names none.
        codecs: codecs with evidence: kind, format, compression.
        cells: what `decide` looks up.
        compiled: every compiled context.
        errors: contexts that could not be compiled, and got the defaults.
    """

    loaded: Loaded
    generation: int
    methods: tuple[str, ...]
    codecs: frozenset[tuple[str, str, str]]
    cells: dict[Names, ReadyDecisions] = dataclasses.field(default_factory=dict)
    compiled: dict[Context, Cell] = dataclasses.field(default_factory=dict)
    errors: list[str] = dataclasses.field(default_factory=list)


def put_in_force(loaded: Loaded, generation: int = 1) -> InForce:
    """A plan of which nothing is compiled yet."""
    curves = loaded.publication.curves
    codecs = frozenset((codec.kind, codec.format, codec.compression) for codec in (curves.codecs if curves else ()))
    return InForce(loaded, generation, known_methods(loaded.publication), codecs)


def read_again(before: InForce, files: Files) -> tuple[InForce, tuple[str, ...]]:
    """Read the files, and compile what they say with every context that was in use. Raises nothing.

    Returns:
        The plan to put in force, which is `before` where nothing changed or nothing better is to be had; and what is
        wrong with the files.
    """
    errors: tuple[str, ...] = ()
    try:
        loaded = load_files(files, before.loaded)
        errors = loaded.errors
        if (loaded.settings, loaded.publication) == (before.loaded.settings, before.loaded.publication):
            return before, errors
        return _compiled_anew(before, loaded), errors
    except ConfigError as error:
        return before, (*errors, str(error))
    except Exception as error:  # noqa: BLE001 - what is in force must outlive whatever is in a file
        return before, (*errors, f"{files.settings.parent}: cannot be read again: {error!r}; what was in force stays")


def _compiled_anew(before: InForce, loaded: Loaded) -> InForce:
    """The plan that follows `before`. This takes milliseconds per context; in between, other threads get their turn."""
    plan = put_in_force(loaded, before.generation + 1)
    contexts = [Context(available=plan.methods)]  # at least one, so that no plan is taken unseen
    for context in list(before.compiled):
        # Who named no methods gets those that are known now.
        methods = plan.methods if context.available == before.methods else context.available
        contexts.append(dataclasses.replace(context, available=methods))
    for context in dict.fromkeys(contexts):
        if not replace_unknown(plan, _names(context))[1]:
            plan.compiled[context] = _compile(plan, context)
            time.sleep(_PAUSE_S)
    for names in list(before.cells):
        cell = plan.compiled.get(Context(*names, plan.methods))
        if cell is not None:
            plan.cells[names] = ready_decisions(cell)
    return plan


def _compile(plan: InForce, context: Context) -> Cell:
    publication = plan.loaded.publication
    try:
        return compile_cell(plan.loaded.settings, publication, context)
    except Exception as error:
        raise ConfigError(
            f"the plan of {context.kind}/{context.format} cannot be compiled from version {publication.version}: "
            f"{error!r}; what was in force stays in force. Take the version back with `perfkit publish --rollback`, or "
            "publish again",
            path=plan.loaded.thresholds_path,
        ) from error


def _names(context: Context) -> Names:
    return (context.pool, context.kind, context.format, context.compression, context.signalling)


def replace_unknown(plan: InForce, names: Names) -> tuple[Names, tuple[tuple[str, str], ...]]:
    """Names with every unknown one replaced by its default, so that the plan stays small whatever is asked.

    Returns:
        The names that the plan knows, and what was unknown: ``pool``, ``codec`` or ``signalling``, with its name.
    """
    pool, kind, format_name, compression, signalling = names
    unknown = []
    if pool not in plan.loaded.settings.pools:
        unknown.append(("pool", pool))
        pool = DEFAULT_POOL
    codec = (kind, format_name, compression)
    if not (kind in KINDS and format_name in FORMATS and compression in COMPRESSIONS) and codec not in plan.codecs:
        unknown.append(("codec", "/".join(codec)))
        codec = ("binary", "raw", "none")
    if signalling not in SIGNALLINGS:
        unknown.append(("signalling", signalling))
        signalling = SIGNALLINGS[0]
    return (pool, *codec, signalling), tuple(unknown)
