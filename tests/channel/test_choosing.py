"""Which methods a channel tries, and in which order."""

from __future__ import annotations

import pytest

from perfkit.channel.choosing import Chooser, default_engine
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine import Decision
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context
from perfkit.engine.decision import ready_decisions
from perfkit.engine.plan import Publication, compile_cell

LANES = ("uds", "shm_pool", "shm")


def decided(circumstances: Circumstances, pool: PoolSettings) -> Decision:
    """What is decided for a large payload."""
    cell = compile_cell(Settings(pools={"default": pool}), Publication(), Context(available=LANES), circumstances)
    return ready_decisions(cell)[1][-1]


@pytest.mark.parametrize(
    ("circumstances", "pool", "order"),
    [
        (Circumstances(), PoolSettings(), ("shm_pool", "uds", "shm")),
        (Circumstances(open_methods=frozenset({"shm_pool"})), PoolSettings(), ("shm", "uds", "shm_pool")),
        (Circumstances(open_methods=frozenset({"uds"})), PoolSettings(), ("shm_pool", "shm", "uds")),
        (Circumstances("arena_exhausted"), PoolSettings(), ("uds", "shm_pool", "shm")),
        (Circumstances(), PoolSettings(methods=("shm_pool", "shm")), ("shm_pool", "shm", "uds")),
        (Circumstances(open_methods=frozenset(LANES)), PoolSettings(), ("shm_pool", "uds", "shm")),
    ],
)
def test_what_the_plan_leaves_alone_is_tried_last(
    circumstances: Circumstances, pool: PoolSettings, order: tuple[str, ...]
) -> None:
    chooser = Chooser(default_engine(), "default", LANES)
    decision = decided(circumstances, pool)
    assert chooser.order(decision) == order
    assert chooser.order(decision) is chooser.order(decision)


def test_decisions_for_one_method_have_the_order_of_their_own_circumstances() -> None:
    chooser = Chooser(default_engine(), "default", LANES)
    before = decided(Circumstances(), PoolSettings())
    after = decided(Circumstances(open_methods=frozenset({"uds"})), PoolSettings())
    assert before.method == after.method
    assert chooser.order(before) == ("shm_pool", "uds", "shm")
    assert chooser.order(after) == ("shm_pool", "shm", "uds")
    for _ in range(2_000):
        chooser.order(decided(Circumstances(), PoolSettings()))
    assert len(chooser._orders) <= 1024
