"""What a notebook prints and draws is kept small enough for a page; what it cleared takes no room."""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_output

from perfkit.report.running.output_limit import OutputLimit


def chart(chars: int) -> Any:
    return new_output("display_data", data={"text/html": "x" * chars})


def test_a_chart_that_is_redrawn_takes_the_room_of_one() -> None:
    limit = OutputLimit()
    outputs: list[Any] = []
    for _ in range(10):
        outputs.clear()
        limit.add(outputs, chart(1_000_000), 1)
    assert len(outputs[0].data["text/html"]) == 1_000_000
    outputs.clear()  # and at its end it shows nothing
    later: list[Any] = []
    limit.add(later, chart(1_700_000), 2)
    assert len(later[0].data["text/html"]) == 1_700_000
    assert limit.notes == ()
    limit.add([], chart(200_000), 3)
    assert "in its cell 3 was left out" in limit.notes[0]


def test_many_cells_that_print_much_are_bounded_together() -> None:
    limit, kept_chars = OutputLimit(), 0
    for cell in range(1, 151):
        outputs: list[Any] = []
        for _ in range(7):
            limit.add(outputs, new_output("stream", text="y" * 10_000), cell)
        limit.add(outputs, new_output("stream", text="the end"), cell)
        assert outputs[-1].text.endswith("the end")
        kept_chars += sum(len(one.text) for one in outputs)
    assert kept_chars < 600_000
    assert len(limit.notes) == 150


def test_what_was_printed_and_cleared_takes_no_room() -> None:
    limit = OutputLimit()
    outputs: list[Any] = []
    for _ in range(100):
        outputs.clear()
        limit.add(outputs, new_output("stream", text="z" * 100_000), 1)
    assert len(limit.notes) == 1
    outputs.clear()
    limit.add(outputs, new_output("stream", text="z" * 20_000), 1)
    assert [one.text for one in outputs] == ["z" * 20_000]
    assert limit.notes == ()
