"""A decision's reasons, found by its id."""

from __future__ import annotations

import pytest

from perfkit.engine import Engine
from perfkit.engine.rationales import Rationales
from perfkit.errors import InputError


@pytest.fixture
def decisions():
    """Decisions of the defaults, in several contexts."""
    engine = Engine.load("no-such-folder/perfkit.toml", background=False)
    sizes, kinds = (1024, 2**30), ("tensor", "dataframe", "text")
    return [engine.decide(size, kind=kind, format="pickle") for kind in kinds for size in sizes]


def test_a_kept_decision_explains_itself_by_its_id(decisions) -> None:
    kept = Rationales()
    for decision in [*decisions, *decisions]:
        kept.keep(decision)
    assert len(kept) == len(decisions)
    explanation = kept.explain(decisions[0].id, 2048)
    assert explanation.decision is decisions[0]
    assert explanation.payload_bytes == 2048


def test_the_oldest_go_first_and_the_plan_in_force_can_be_asked_too(decisions) -> None:
    kept = Rationales(capacity=2)
    for decision in decisions:
        kept.keep(decision)
    assert len(kept) == 2
    with pytest.raises(InputError, match=r"2 newest.*lake"):
        kept.explain(decisions[0].id)
    assert kept.explain(decisions[0].id, in_force=decisions).decision is decisions[0]
    assert kept.explain(decisions[-1].id).decision is decisions[-1]


def test_an_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="must be text"):
        Rationales().explain(5)  # type: ignore[arg-type]
