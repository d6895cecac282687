"""What the members of a set that changed have in common, and those that did not change lack."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from perfkit.errors import InputError

__all__ = ["SharedAttributes", "shared_attributes"]

Flags = npt.NDArray[np.bool_]

_MOST_PATTERNS = 3
_MOST = 0.5
"""Share of series from which on a change of unlike ones concerns all of them."""
_ALPHA = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class SharedAttributes:
    """A group of series that changed together.

    Args:
        attributes: what its members have in common; empty when most series changed, with nothing to tell them apart.
        changed: members that changed.
        members: series with these attributes.
        others_changed: series without them that changed, of those that no earlier pattern explains.
        others: series without them, likewise.
        p_value: probability of so many changes within such a group if changes fell at random, times the number of
            groups that were looked at (Fisher's exact test, one-sided); 1 where nothing tells them apart.
    """

    attributes: Mapping[str, str]
    changed: int
    members: int
    others_changed: int
    others: int
    p_value: float


def shared_attributes(
    attributes: Sequence[Mapping[str, str]], changed: Sequence[bool], *, alpha: float = _ALPHA
) -> tuple[SharedAttributes, ...]:
    """Find the attributes, or pairs of attributes, that tell changed series from the others.

    Every value of every attribute and every pair of them is tried. The group with the smallest p-value is taken, then
    its members are put aside and the rest is searched, up to three groups.

    Args:
        attributes: of each series, such as ``{"method": "grpc", "kind": "tensor"}``.
        changed: whether each series changed.
        alpha: largest adjusted p-value that counts, between 0 and 1.

    Returns:
        The groups, the clearest first; all series where most of them changed and nothing tells these apart; empty when
        fewer than two changed.

    Raises:
        InputError: the two differ in length.

    >>> series = [{"method": m, "kind": k} for m in ("grpc", "uds", "shm") for k in ("tensor", "text", "binary")]
    >>> (found,) = shared_attributes(series, [one["method"] == "grpc" for one in series])
    >>> found.attributes, found.changed, found.members, found.p_value < 0.1
    ({'method': 'grpc'}, 3, 3, True)
    """
    flags = np.asarray(changed, bool)
    if flags.shape != (len(attributes),):
        raise InputError(f"changed has {flags.size} entries, must have one per series: {len(attributes)}")
    if flags.sum() < 2:
        return ()
    groups = _groups(attributes)
    remaining = np.ones(flags.size, bool)
    found: list[SharedAttributes] = []
    while len(found) < _MOST_PATTERNS and (flags & remaining).sum() >= 2:
        best = _clearest(groups, flags, remaining)
        if best is None or best[0].p_value > alpha:
            break
        found.append(best[0])
        remaining &= ~best[1]
    if not found and flags.mean() > _MOST:
        return (SharedAttributes({}, int(flags.sum()), flags.size, 0, 0, 1.0),)
    return tuple(found)


def _groups(attributes: Sequence[Mapping[str, str]]) -> list[tuple[dict[str, str], Flags]]:
    """Every group of series that one or two attributes describe; of those with the same members the first."""
    names = list(dict.fromkeys(name for one in attributes for name in one))
    masks: dict[tuple[str, str], Flags] = {}
    for name in names:
        values = np.array([one.get(name, "") for one in attributes])
        masks |= {(name, str(value)): values == value for value in dict.fromkeys(values.tolist())}
    single = [({name: value}, mask) for (name, value), mask in masks.items()]
    double = [
        ({first[0]: first[1], second[0]: second[1]}, masks[first] & masks[second])
        for first, second in itertools.combinations(masks, 2)
        if first[0] != second[0]
    ]
    unique: dict[bytes, tuple[dict[str, str], Flags]] = {}
    for described, mask in (*single, *double):
        if 2 <= mask.sum() < mask.size:
            unique.setdefault(mask.tobytes(), (described, mask))
    return list(unique.values())


def _clearest(
    groups: Sequence[tuple[dict[str, str], Flags]], changed: Flags, remaining: Flags
) -> tuple[SharedAttributes, Flags] | None:
    """The group whose members changed more than chance allows, and who they are."""
    if not groups:
        return None
    members = np.array([mask for _, mask in groups]) & remaining
    total, total_changed = int(remaining.sum()), int((changed & remaining).sum())
    sizes, hits = members.sum(axis=1), (members & changed).sum(axis=1)
    p_values = np.minimum(hypergeom.sf(hits - 1, total, total_changed, sizes) * len(groups), 1.0)
    best = int(np.lexsort((-hits, p_values))[0])
    described, _ = groups[best]
    size, hit = int(sizes[best]), int(hits[best])
    if hit < 2:
        return None
    found = SharedAttributes(described, hit, size, total_changed - hit, total - size, float(p_values[best]))
    return found, members[best]
