"""Validation examples are scored as evaluation scores test examples."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import torch

from sft_tradeoff.evaluation.evaluate import evaluate
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.selection.validation import Validation
from sft_tradeoff.study.runs import EvaluationConfig
from tests.unit.selection.material import DOMAIN, EVALUATION, run_config, train


def test_the_scores_are_those_of_evaluation_bit_for_bit(material, tmp_path):
    """The kept weights, evaluated in the usual way, with the validation split as the test."""
    report = train(run_config("talr"), material, tmp_path)
    evaluation = EVALUATION.model_copy(update={"as_shipped": False})
    config = EvaluationConfig(
        run="test", model="m", model_digest="", domains=(DOMAIN,), evaluation=evaluation
    )
    files = [material.file("validation")], [material.tokens("validation")]
    evaluate(config, tmp_path / "model", material.base_model, *files, tmp_path / "eval.json")
    columns = ["item", "metric", "value", "size"]
    expected = pd.read_parquet(tmp_path / "items.parquet")[columns]
    epochs = pd.read_parquet(tmp_path / "epochs.parquet")
    (best,) = (e["epoch"] for e in report["train_info"]["epochs"] if e["selected"])
    kept = epochs[epochs["epoch"] == best][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, expected, check_exact=True)


def test_scoring_leaves_random_generators_and_settings_alone(material):
    tokenizer = load_tokenizer(material.base_model)
    files = material.file("validation"), material.tokens("validation")
    validation = Validation.read(DOMAIN, EVALUATION, *files, tokenizer)

    def states():
        legacy = np.random.get_state()
        of_gpu = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        return str(random.getstate()), str(legacy), torch.get_rng_state().tolist(), of_gpu

    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    before = states()
    first, again = (validation.score(material.base_model) for _ in range(2))
    assert states() == before
    assert first.equals(again)
