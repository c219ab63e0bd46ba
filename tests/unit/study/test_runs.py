"""What a study's methods make the workflow compute besides their runs."""

from __future__ import annotations

import pytest

from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.runs import aggregated_tables, answer_weight_files, weighing_methods

TALR = [{"name": "talr", "label": f"talr{tau}", "options": {"tau": tau}} for tau in (0.5, 1.0)]


def study(*methods):
    content = {
        "study": "tiny",
        "models": ["random-2layer"],
        "domains": [{"name": "esci", "variant": "label_only"}, {"name": "math"}],
        "methods": list(methods),
        "learning_rates": {"full": [1e-4]},
    }
    return parse_study(content, "tiny.yaml")


def test_answers_are_weighed_where_a_method_weighs_tokens():
    found = study({"name": "sft"}, {"name": "kl_reg"}, {"name": "dft"}, *TALR)
    assert [method.label for method in weighing_methods(found)] == ["dft", "talr0.5", "talr1.0"]
    assert answer_weight_files(found) == [
        "answer_weights/random-2layer.esci-label_only.csv",
        "answer_weights/random-2layer.math-cot.csv",
    ]
    assert answer_weight_files(study({"name": "sft"}, {"name": "l2_reg"})) == []


@pytest.mark.parametrize("n", [2, 3])
def test_more_than_two_settings_of_talr_have_a_table(n):
    methods = [{"name": "talr"}, *TALR][:n]
    assert ("talr_options.csv" in aggregated_tables(study({"name": "sft"}, *methods))) == (n > 2)
