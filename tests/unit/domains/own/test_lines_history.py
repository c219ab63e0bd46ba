"""Lines with earlier turns."""

from __future__ import annotations

from dataclasses import replace

from sft_tradeoff.domains.own.lines import Line

EARLIER = ({"role": "user", "content": "It rains."}, {"role": "assistant", "content": "Stay in."})
LINE = Line(
    number=1,
    prompt="Why?",
    response="It is wet.",
    answer="It is wet.",
    split=None,
    system=None,
    unread=(),
    history=EARLIER,
)


def test_lines_are_copies_if_all_that_is_read_is_equal() -> None:
    other = {"role": "assistant", "content": "Go out."}
    assert LINE.key == replace(LINE, number=2, prompt="why? ", response="So.").key
    keys = {
        LINE.key,
        replace(LINE, history=()).key,
        replace(LINE, history=(EARLIER[0], other)).key,
        replace(LINE, history=(*EARLIER, *EARLIER)).key,
        replace(LINE, system="Be brief.").key,
    }
    assert len(keys) == 5


def test_earlier_turns_are_among_the_texts() -> None:
    assert set(LINE.texts) >= {"It rains.", "Stay in.", "Why?", "It is wet."}
