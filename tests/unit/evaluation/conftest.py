"""The random model with large weights, under both model classes, and small files to evaluate."""

import json

import pytest
import torch

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.tokens.tokenize import tokenize_file
from tests.unit.evaluation.material import DOMAIN
from tests.unit.evaluation.stock import lms, loud


@pytest.fixture(scope="module")
def model(random_model):
    return loud(load_model(random_model, torch.float32))


@pytest.fixture(scope="module")
def plain(random_model, model):
    return lms(model, load_tokenizer(random_model))


@pytest.fixture
def material(tmp_path, random_model, monkeypatch):
    """Benchmarks of the real schema, a domain and its tokens."""
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "benchmarks"
    folder.mkdir(parents=True)
    choices = [
        {"id": f"p{i}", "question": f"What is {i}?", "choices": ["yes", "no"], "gold": i % 2}
        for i in range(6)
    ]
    texts = [{"id": f"t{i}", "text": "words and words " * (i + 1)} for i in range(3)]
    for name, items in (("piqa", choices), ("code_length_code", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in items))
    write_domain(DOMAIN, tmp_path / "esci")
    tokens = tokenize_file(load_tokenizer(random_model), tmp_path / "esci" / "test.jsonl", 1024)
    tokens.save(tmp_path / "test.npz")
    return tmp_path
