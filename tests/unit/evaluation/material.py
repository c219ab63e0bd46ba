"""Evaluate a model on small files in the real schema."""

import json

import pandas as pd

from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.evaluate import (
    evaluate,
)
from sft_tradeoff.study.runs import EvaluationConfig
from sft_tradeoff.study.spec import EvaluationSpec

DOMAIN = domain_spec(
    name="esci", variant="label_only", n_train=2, n_validation=1, n_test=8, max_new_tokens=20
)


OTHER = DOMAIN.model_copy(update={"label": "other"})


def run(
    material,
    model,
    tasks,
    expected=None,
    domains=("esci",),
    dtype="float32",
    record_tokens=False,
    **settings,
):
    config = EvaluationConfig(
        run="out",
        model="m",
        model_digest="",
        expected=expected or {},
        domains=tuple(DOMAIN if d == "esci" else OTHER for d in domains),
        evaluation=EvaluationSpec(tasks=tasks, dtype=dtype, **settings),
        record_tokens=record_tokens,
    )
    out = material / "out" / "eval.json"
    data = [material / domain / "test.jsonl" for domain in domains]
    tokens = [material / ("test.npz" if d == "esci" else f"{d}.npz") for d in domains]
    evaluate(config, model, model, data, tokens, out)
    return json.loads(out.read_text()), pd.read_parquet(out.parent / "items.parquet")
