"""NaN and infinity, in weights and in data."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from sft_tradeoff.domains.registry import domain_spec
from tests.faults.laboratory import MODEL, RUN, Broken, Laboratory, clear_error
from tests.faults.outcome import REFUSED, Outcome, failed


def not_finite(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """Weights of NaN or infinity, or NaN in the data: an error, or scores that are NaN too."""
    cases = [_training, _evaluation, _reference, _data]
    for i in range(n):
        try:
            cases[i % len(cases)](lab, rng)
        except Broken as broken:
            yield failed(f"{cases[i % len(cases)].__name__}: {broken}")
        else:
            yield REFUSED


def break_weights(folder: Path, rng: random.Random) -> None:
    """Set one tensor to NaN or infinity, with matching hashes, as if training had written it."""
    from safetensors.numpy import load_file, save_file

    from sft_tradeoff.models.folder import describe_weights

    path = folder / "model.safetensors"
    weights = load_file(path)
    name = rng.choice(sorted(weights))
    weights[name] = weights[name] * 0 + rng.choice([math.nan, math.inf])
    path.unlink()
    save_file(weights, path, metadata={"format": "pt"})
    record = folder / "MODEL.json"
    if record.exists():
        facts = json.loads(record.read_text())
        record.write_text(json.dumps(facts | describe_weights(folder)))


def _broken_model(lab: Laboratory, rng: random.Random) -> Path:
    folder = lab.new_folder() / MODEL
    shutil.copytree(lab.model, folder)
    break_weights(folder, rng)
    return folder


def _training(lab: Laboratory, rng: random.Random) -> None:
    work = lab.new_folder()
    clear_error(lab.start_training(work, _broken_model(lab, rng)).wait())
    if left := list(work.glob("runs/*/*")):
        raise Broken(f"results in spite of NaN: {left}")


def _evaluation(lab: Laboratory, rng: random.Random) -> None:
    work = lab.trained_copy()
    break_weights(work / "runs" / RUN / "model", rng)
    done = lab.start_evaluation(work).wait()
    if done.code:
        clear_error(done)
        return
    report = json.loads((work / "runs" / RUN / "eval.json").read_text())
    for metric in report["eval_info"]["metrics"]:
        if not math.isnan(metric["value"]) or not metric["reason"]:
            raise Broken(f"a score in spite of NaN: {metric}")


def _reference(lab: Laboratory, rng: random.Random) -> None:
    out = lab.new_folder() / "reference.parquet"
    model = _broken_model(lab, rng)
    arguments = ("--base-model", model, "--data", lab.data / "train.npz", "--dtype", "float32")
    clear_error(lab.start("reference", *arguments, "--out", out).wait())
    if out.exists():
        raise Broken("statistics in spite of NaN")


def _data(lab: Laboratory, rng: random.Random) -> None:
    folder = lab.new_folder()
    lines = [{"prompt": f"{i} + {i}?", "response": f"{2 * i}"} for i in range(12)]
    place = rng.choice(["response", "answer", "prompt"])
    value = rng.choice([math.nan, math.inf, -math.inf])
    lines[rng.randrange(12)][place] = value  # type: ignore[assignment]
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = domain_spec(name="own", path=str(path), n_train=6, n_validation=2, n_test=4)
    done = lab.start(
        "build-domain", "--spec", spec.model_dump_json(), "--out", folder / "out"
    ).wait()
    clear_error(done)
    if list(folder.glob("out/*")):
        raise Broken("examples in spite of NaN")
