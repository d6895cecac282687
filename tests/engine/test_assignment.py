"""Sessions get their variants by a hash alone: evenly, independently, the same everywhere and for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from perfkit.config.experiments import Experiment, Variant
from perfkit.engine import assignment
from perfkit.engine.assignment import Assigner

SESSIONS = [f"user-{number}" for number in range(100_000)]
GOLDEN = {
    "": 1,
    "user-1": 0,
    "user-4": 1,
    "user-17": 1,
    "user-22": -1,
    "\0": 1,
    "Ünïcode": 0,
    "日本": 0,
    "\ud800": 1,
    "x" * 300: 1,
}
"""Variants of `experiment(control=0.5, bigger=0.3)`. A release that changes one of them moves sessions of running
experiments: that must never happen."""


def experiment(name: str = "bigger-blocks", salt: str = "", **shares: float) -> Experiment:
    return Experiment(name, tuple(Variant(name, share) for name, share in shares.items()), salt=salt)


def assigned(one: Experiment, sessions: list[str] = SESSIONS) -> list[str]:
    """The variant of each session, by name; empty for none."""
    assigner = Assigner(one)
    names = [*(variant.name for variant in one.variants), ""]
    return [names[assigner.assign(session)[0]] for session in sessions]


def chi_square(counts: Mapping[Any, int], expected: Mapping[Any, float]) -> float:
    return sum((counts.get(key, 0) - mean) ** 2 / mean for key, mean in expected.items())


def test_every_variant_gets_its_share_of_sessions() -> None:
    shares = {"control": 0.5, "bigger": 0.3, "tiny": 0.01, "": 0.19}
    counts = Counter(assigned(experiment(control=0.5, bigger=0.3, tiny=0.01)))
    expected = {name: share * len(SESSIONS) for name, share in shares.items()}
    assert chi_square(counts, expected) < 16.3  # 3 degrees of freedom, p = 0.001


def test_experiments_are_independent_of_each_other() -> None:
    first = assigned(experiment("blocks", A=0.5, B=0.5))
    for other in (experiment("streams", A=0.5, B=0.5), experiment("blocks", salt="again", A=0.5, B=0.5)):
        pairs = Counter(zip(first, assigned(other), strict=True))
        expected = dict.fromkeys([(one, two) for one in "AB" for two in "AB"], len(SESSIONS) / 4)
        assert chi_square(pairs, expected) < 16.3
    assert assigned(experiment("renamed", salt="blocks", A=0.5, B=0.5)) == first


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        ({"A": 0.5, "B": 0.5}, {"A": 0.4, "B": 0.6}, {("A", "B")}),
        ({"A": 0.05, "B": 0.05}, {"A": 0.2, "B": 0.2}, {("", "A"), ("", "B")}),
        ({"A": 0.95, "B": 0.05}, {"A": 0.0, "B": 1.0}, {("A", "B")}),
        ({"A": 0.05, "B": 0.05}, {"A": 0.05, "B": 0.9}, {("", "B")}),
        ({"A": 0.4, "B": 0.4}, {"A": 0.4, "B": 0.0}, {("B", "")}),
        ({"A": 0.4, "B": 0.4}, {"A": 0.4, "B": 0.4, "C": 0.1}, {("", "C")}),
        ({"A": 0.2, "B": 0.2, "C": 0.6}, {"A": 0.2, "B": 0.5, "C": 0.3}, {("C", "B")}),
        (
            {"A": 0.02, "B": 0.01, "C": 0.04, "D": 0.03},
            {"A": 0.2, "B": 0.1, "C": 0.4, "D": 0.3},
            {("", name) for name in "ABCD"},
        ),
    ],
)
def test_a_change_of_shares_moves_only_those_who_have_to(
    before: dict[str, float], after: dict[str, float], moves: set[tuple[str, str]]
) -> None:
    sessions = SESSIONS[:20_000]
    pairs = zip(assigned(experiment(**before), sessions), assigned(experiment(**after), sessions), strict=True)
    assert {(one, two) for one, two in pairs if one != two} == moves


def test_everybody_takes_part_where_the_shares_add_up_to_1_and_nobody_where_they_are_0() -> None:
    assert "" not in assigned(experiment(A=0.7, B=0.2, C=0.1))
    assert set(assigned(experiment(A=0.0, B=0.0), SESSIONS[:100])) == {""}


IN_ANOTHER_PROCESS = """
import json, sys
from perfkit.config.experiments import Experiment, Variant
from perfkit.engine.assignment import Assigner
assigner = Assigner(Experiment("bigger-blocks", (Variant("control", 0.5), Variant("bigger", 0.3))))
print(json.dumps([assigner.assign(session)[0] for session in json.load(sys.stdin)]))
"""


def test_a_session_has_the_same_variant_in_every_process_and_in_every_release() -> None:
    for seed in ("0", "4711"):
        output = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            input=json.dumps(list(GOLDEN)),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert dict(zip(GOLDEN, json.loads(output), strict=True)) == GOLDEN


def test_any_text_is_a_session() -> None:
    assigner = Assigner(experiment(A=0.5, B=0.5))
    odd = ["", "\0", "\ud800", "ü" * 300, "x" * 1_000_000]
    assert [assigner.assign(session)[1] for session in odd] == [True] * len(odd)
    assert [assigner.assign(session)[1] for session in odd] == [False] * len(odd)
    assert max(map(len, assigner.cache)) <= 256


def test_what_is_remembered_is_bounded_and_who_comes_back_is_never_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignment, "_REMEMBERED", 100)
    assigner = Assigner(experiment(A=0.5))
    cache, regulars, first = assigner.cache, [f"regular-{number}" for number in range(50)], Counter[str]()
    for number in range(2_000):
        assigner.assign(f"passer-by-{number}")
        regular = regulars[number % 50]
        if regular not in cache:
            first[regular] += assigner.assign(regular)[1]
        assert len(cache) <= 100
    assert len(assigner._older) + len(assigner._forgotten) <= 200
    assert first == Counter(regulars)
    assert assigner.assign("passer-by-0")[1]
    assert assigner.cache is cache


def test_of_many_threads_one_is_told_that_a_session_is_new() -> None:
    sessions = SESSIONS[:3_000]
    assigner, told = Assigner(experiment(A=0.5, B=0.5)), Counter[str]()
    before = sys.getswitchinterval()
    answers = [Counter[str]() for _ in range(8)]

    def assign(own: Counter[str]) -> None:
        for session in sessions:
            own[session] += assigner.assign(session)[1]

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=assign, args=(own,)) for own in answers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    for own in answers:
        told.update(own)
    assert told == Counter(sessions)


def test_a_child_assigns_although_another_thread_was_assigning_at_the_fork() -> None:
    assigner = Assigner(experiment(A=0.5, B=0.5))
    with assigner._changing:
        child = os.fork()
        if not child:
            thread = threading.Thread(target=assigner.assign, args=("user-1",), daemon=True)
            thread.start()
            thread.join(10)
            os._exit(0 if "user-1" in assigner.cache else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_only_sessions_that_move_are_new_when_shares_change() -> None:
    before, sessions = Assigner(experiment(A=0.2, B=0.3)), SESSIONS[:1000]
    first = {session: before.assign(session)[0] for session in sessions}
    after = Assigner(experiment(A=0.5, B=0.3), before)
    found = {session: after.assign(session) for session in sessions}
    moved = {session for session in sessions if found[session][0] != first[session]}
    assert moved
    assert {session for session in sessions if found[session][1]} == moved
    assert after.assign("somebody else")[1]
