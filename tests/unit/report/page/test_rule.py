"""The slider's tables hold what the recommendation's rule compares; a browser repeats the rule."""

import pytest

from sft_tradeoff.analysis.comparison import Outcome, compare
from sft_tradeoff.analysis.tables import LEVEL
from sft_tradeoff.report.page.rule import rule_tables
from tests.recommended_runs import GAIN, Run
from tests.unit.report.page.pages import KNOWN, random_runs, recommendation_of


def section_of(runs):
    _, measured, found = recommendation_of(runs)
    (table,) = rule_tables(found, measured)
    return table, measured, found.sections[0]


def test_losses_and_gains_are_those_of_the_recommendation():
    table, _, section = section_of(KNOWN)
    assert (table["model"], table["domain"], table["sft"]) == ("m", "d", "sft")
    for ours, theirs in zip(table["methods"], section.methods, strict=True):
        assert ours["label"] == theirs.label
        for candidate, c in zip(ours["candidates"], theirs.candidates, strict=True):
            loss = c.losses["bits_per_byte"]
            assert candidate["losses"]["bits_per_byte"] == [loss.value, loss.low, loss.high]
            assert candidate["gain"] == c.gains[section.measure].value
            assert candidate["nll"] == c.domain_nll and candidate["complete"]


@pytest.mark.parametrize("seed", range(3))
def test_a_gain_counts_beside_as_many_methods_as_the_comparison_says(seed):
    table, measured, section = section_of(random_runs(seed, methods=4))
    (sft, *_), methods = section.methods, section.methods[1:]
    assert table["methods"][0]["against"] == []
    for ours, method in zip(table["methods"][1:], methods, strict=True):
        for row, one in zip(ours["against"], method.candidates, strict=True):
            for pair, other in zip(row, sft.candidates, strict=True):
                counts = [_is_better(measured, one, other, n, section.measure) for n in (1, 2, 3)]
                assert (pair[1] if pair else 0) == sum(counts)


def _is_better(measured, one, other, n, measure):
    level = 1 - (1 - LEVEL) / n
    found = compare(measured.items, one.setting, other.setting, GAIN, level)
    return found[measure].outcome is Outcome.BETTER


def test_which_runs_are_worse_than_which():
    runs = {"sft": {1e-5: Run(0, 0.001, right=10), 1e-4: Run(0, 0.001, right=80, nll=0.9)}}
    table, *_ = section_of(runs)
    assert table["methods"][0]["worse"] == [[], [0]], "10 right answers are worse than 80"


def test_nothing_is_worse_where_nll_decides():
    runs = {"sft": {1e-5: Run(0, 0.001, right=10, nll=2.0), 1e-4: Run(0, 0.001, right=10)}}
    table, *_ = section_of(runs)
    assert table["measure"] == "nll" and table["methods"][0]["worse"] == [[], []]
