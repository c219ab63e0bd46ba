"""What chooses the weights of a run."""

from __future__ import annotations

import pytest

from sft_tradeoff.selection.train import selection_of
from sft_tradeoff.system.console import UserError
from tests.unit.selection.material import run_config


def test_a_run_that_keeps_its_last_weights_reads_no_validation_examples(tmp_path):
    missing = tmp_path / "missing"
    assert selection_of(run_config(select="last"), missing, missing, missing) is None


def test_missing_examples_are_refused(material):
    with pytest.raises(UserError, match=r"select is best_domain, .* add --validation and"):
        selection_of(run_config(), material.base_model, None, material.tokens("validation"))


def test_unusable_examples_are_refused_before_training(material):
    """Those of another split: they are more than the tokens."""
    with pytest.raises(UserError, match=r"domain 'esci-label_only': .* has 4 examples, .* 12"):
        selection_of(
            run_config(), material.base_model, material.file("train"), material.tokens("validation")
        )
