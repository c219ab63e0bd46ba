"""Train and evaluate on what was accepted: one step, and its own answers are graded right."""

from __future__ import annotations

import json
from pathlib import Path

from sft_tradeoff.assets.fetch import cache_dir
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import get_domain
from sft_tradeoff.evaluation.evaluate import evaluate
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.spec import built_model
from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer
from sft_tradeoff.study.config import Study, load_study
from sft_tradeoff.study.runs import EvaluationConfig, expand_runs
from sft_tradeoff.system.records import read_jsonl
from sft_tradeoff.tokens.round_trip import check_round_trip
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.train import train
from tests.odd_inputs.outcome import Outcome, fault

BATCH = 4


def learn(study_file: Path) -> Outcome:
    """Do what the workflow does with a study, with one step and the domain's test alone."""
    study = load_study(study_file)
    work = Path("work").absolute()
    base, domain = _base(study, work), study.domains[0]
    write_domain(domain, work)
    tokenizer, score = load_tokenizer(base), get_domain(domain.name).score
    for split in ("train", "test"):
        records = work / f"{split}.jsonl"
        tokens = tokenize_file(tokenizer, records, study.training.max_length)
        check_round_trip(tokenizer, generation_ends(base), tokens, read_jsonl(records), score)
        wrong = [r["id"] for r in read_jsonl(records) if not score(r, r["response"]).correct]
        if wrong:
            return fault(f"gold answers are graded wrong: {wrong[0]}")
        tokens.save(work / f"{split}.npz")
    run = expand_runs(study)[0]
    short = {"epochs": BATCH / len(read_list(work / "train.jsonl")), "precision": "fp32"}
    run = run.model_copy(update={"training": run.training.model_copy(update=short)})
    (work / "run").mkdir()
    train(run, base, work / "train.npz", work / "run/model")
    asked = EvaluationConfig(
        run=run.run,
        model=run.model,
        model_digest=run.model_digest,
        domains=(domain,),
        evaluation=study.evaluation.model_copy(update={"tasks": {}, "dtype": "float32"}),
    )
    tests = [work / "test.jsonl"], [work / "test.npz"]
    evaluate(asked, work / "run/model", base, *tests, work / "run/eval.json")
    metrics = json.loads((work / "run/eval.json").read_text())["eval_info"]["metrics"]
    broken = [m["metric"] for m in metrics if m["reason"]]
    return fault(f"scores are not finite: {broken}") if broken else Outcome("accepted")


def read_list(path: Path) -> list[dict[str, object]]:
    """All records of a file."""
    return list(read_jsonl(path))


def _base(study: Study, work: Path) -> Path:
    """θ0's folder, built unless it is in the cache."""
    name = study.models[0]
    spec = study.model_catalogue[name]
    cached = built_model(cache_dir(), name)
    if (cached / "MODEL.json").is_file():
        return cached
    source = None if spec.asset is None else Path(study.assets[spec.asset].path)
    build_model(name, spec, source, work / "base", {"name": name})
    return work / "base"
