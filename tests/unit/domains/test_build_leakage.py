"""The same example in two splits of a domain is refused."""

from itertools import cycle

import pytest

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.build import refuse_leakage
from sft_tradeoff.system.console import UserError


def example(id_, prompt, *earlier):
    turns = zip(cycle(("user", "assistant")), earlier)
    history = tuple({"role": role, "content": content} for role, content in turns)
    return Example(id=id_, prompt=prompt, response="r", answer="a", history=history)


def test_leakage_between_splits_is_refused():
    splits = {
        "train": [example("a", "Same  prompt")],
        "validation": [],
        "test": [example("b", "same prompt")],
    }
    with pytest.raises(UserError, match=r"'b' has the same prompt as train example 'a'"):
        refuse_leakage(splits)


def test_a_prompt_after_other_turns_is_another_prompt():
    train = example("a", "And then?", "It rains.", "Take an umbrella.")
    others = [
        example("b", "And then?", "It snows.", "Take an umbrella."),
        example("c", "And then?", "It rains.", "Stay at home."),
        example("d", "And then?"),
    ]
    refuse_leakage({"train": [train], "validation": [], "test": others})
    same = example("e", "and then?", "it  rains.", "Take an umbrella.")
    with pytest.raises(UserError, match="'e' has the same prompt as train example 'a'"):
        refuse_leakage({"train": [train], "validation": [], "test": [*others, same]})
