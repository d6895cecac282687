"""Policies in Python: functions that name a method, asked while a plan is compiled, never on the way of a payload."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from perfkit.errors import InputError, UnknownNameError
from perfkit.units import parse_bytes

__all__ = [
    "MethodFigures",
    "Policy",
    "PolicyContext",
    "find_policy",
    "import_policies",
    "policy",
    "registered_policies",
]


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a policy decides for: one size in one context.

    Args:
        payload_bytes: size of the payload before encoding.
        pool: pool of workers.
        kind: tensor, dataframe, binary or text.
        format: numpy, arrow, pickle, msgpack, json or raw.
        compression: none, lz4 or zstd.
        signalling: how a shared-memory block is announced.
        in_place: the payload was born in a block of the pool.
        in_flight: sends under way at once.
        state: what the host has left: ``normal``, ``cpu_pressure``, ``memory_pressure``, ``arena_low`` or
            ``arena_exhausted``.
        goal: what the pool minimises.
        available: methods that may be taken.
    """

    payload_bytes: int
    pool: str
    kind: str
    format: str
    compression: str
    signalling: str
    in_place: bool
    in_flight: int
    state: str
    goal: str
    available: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class MethodFigures:
    """What one method is expected to cost at the size asked for; None for what was not measured.

    Args:
        cost: in the unit of the pool's goal.
        latency_ns: of one transfer.
        cpu_ns: processor time of both sides.
        resident_bytes: memory held.
    """

    cost: float | None
    latency_ns: float | None
    cpu_ns: float | None
    resident_bytes: float | None


PolicyFunction = Callable[[PolicyContext, Mapping[str, MethodFigures]], str | None]
_Function = TypeVar("_Function", bound=PolicyFunction)


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A registered policy: its function, and sizes at which it may change its mind."""

    name: str
    function: PolicyFunction
    breakpoints: tuple[float, ...] = ()


_POLICIES: dict[str, Policy] = {}


def policy(name: str, *, breakpoints: Iterable[int | str] = ()) -> Callable[[_Function], _Function]:
    """Register a function as the policy ``name``: pools name it in `perfkit.toml` as ``policy = "name"``.

    The function gets a `PolicyContext` and the figures of every method that may be taken, and returns the method to
    take, or None to leave the choice to what comes after policies. It is asked while a plan is compiled, on a grid of
    sizes and at its own breakpoints; what it answers must depend on its arguments alone. One that raises, or names what
    is no method, is passed over, and `health()` says so; so is, silently, one that names a method that cannot be taken
    now. A name that is registered again is replaced.

    Args:
        name: such as ``big tensors``.
        breakpoints: sizes at which the answer may change, such as ``"64KiB"``: the change is placed exactly there.

    Raises:
        InputError: the name is empty or no text.
        UnitError: a breakpoint is no size.

    >>> @policy("sockets for what is small", breakpoints=["64KiB"])
    ... def small(context, figures):
    ...     return "uds" if context.payload_bytes < 65536 else None
    >>> find_policy("sockets for what is small").breakpoints
    (65536.0,)
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"policy name == {name!r}, must be text such as 'big tensors'")
    sizes = tuple(sorted({float(parse_bytes(size)) for size in breakpoints}))

    def register(function: _Function) -> _Function:
        _POLICIES[name] = Policy(name, function, sizes)
        return function

    return register


def find_policy(name: str) -> Policy:
    """The policy of that name.

    Raises:
        UnknownNameError: none is registered; names those that are.
    """
    try:
        return _POLICIES[name]
    except KeyError:
        hint = "Name the module that registers it in perfkit.toml: [engine] policies = ['mymodule']."
        raise UnknownNameError("policy", name, _POLICIES, hint) from None


def import_policies(modules: Iterable[str]) -> tuple[str, ...]:
    """Import the modules that register policies; one that was imported before is not imported again.

    Returns:
        What went wrong, in sentences: a service goes on without the policies of a module that cannot be imported.
    """
    problems = []
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's module does when imported
            problems.append(
                f"module {module} of engine.policies cannot be imported: {error!r}; its policies are left out"
            )
    return tuple(problems)


def registered_policies() -> tuple[str, ...]:
    """Names of all policies, sorted."""
    return tuple(sorted(_POLICIES))
