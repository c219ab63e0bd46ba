"""The same example in two splits of a domain is refused."""

import pytest

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.build import refuse_leakage


def test_leakage_between_splits_is_refused():
    def example(id_, prompt):
        return Example(id=id_, prompt=prompt, response="r", answer="a")

    splits = {
        "train": [example("a", "Same  prompt")],
        "validation": [],
        "test": [example("b", "same prompt")],
    }
    with pytest.raises(Exception, match=r"'b' has the same prompt as train example 'a'"):
        refuse_leakage(splits)
