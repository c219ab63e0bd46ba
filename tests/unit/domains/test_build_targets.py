"""Properties of every domain's data; published data is still what is generated."""

import json

import pytest

from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.domains.medcalc.generated import CALCULATORS
from sft_tradeoff.domains.registry import SPECS, domain_spec, get_domain
from sft_tradeoff.study.config import load_study
from sft_tradeoff.system.files import sha256_of
from tests.unit.domains.hub_files import (
    esci_rows,
    write_esci,
    write_gsm8k,
    write_medcalc,
    write_metamath,
)

PUBLISHED = "results/published/quick/runs/smollm2-135m-instruct.base/eval.json"
# As generated when the study was published; its records have the test data only.
TRAINED_ON = {
    "esci-cot": (
        "29d8167a83063d68308212ced1531b94ab65b87dd1549369483a35ab706afdc7",
        "aba4505d48c1bd29bdfb9a393c0cbece7f6ea2850d941349f991aa18211849d0",
    ),
}
WRITE = {
    "medcalc-bench": write_medcalc,
    "esci": lambda folder: write_esci(folder, esci_rows()),
    "metamathqa": write_metamath,
    "gsm8k": write_gsm8k,
}
VARIANTS = [(n, v) for n, spec in SPECS.items() if n != "own" for v in spec.variants()]


def test_published_data_is_what_is_generated_today(tmp_path):
    with open(PUBLISHED, encoding="utf-8") as file:
        tested = json.load(file)["meta_info"]["test_sha256"]
    domains = load_study("config/studies/quick.yaml").domains
    assert [domain.label for domain in domains] == list(TRAINED_ON)
    for domain in domains:
        write_domain(domain, tmp_path / domain.label)
        splits = ("train", "validation", "test")
        made = [sha256_of(tmp_path / domain.label / f"{split}.jsonl") for split in splits]
        assert made == [*TRAINED_ON[domain.label], tested[domain.label]]


def make(tmp_path, name, variant):
    """Some hundred examples of a domain; of a hub data set, all that the small files have."""
    sources = [WRITE[asset](tmp_path / asset) for asset in SPECS[name].assets]
    sizes = {"n_train": 250, "n_validation": 20, "n_test": 100}
    if sources:
        sizes = {"n_train": 99, "n_validation": 1, "n_test": 4}
    spec = domain_spec(name=name, variant=variant, seed=7, **sizes)
    splits = get_domain(name).generate(spec, *sources)
    return [example for split in splits.values() for example in split]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_target_is_right_by_the_domains_own_rule(tmp_path, name, variant):
    """Also with a line break at the end, which models like to add."""
    domain, examples = get_domain(name), make(tmp_path, name, variant)
    for example in examples:
        record = example.to_dict()
        assert domain.score(record, example.response).correct, f"graded wrong: {example}"
        padded = domain.score(record, f"{example.response}\n")
        assert padded.correct, f"graded wrong with a line break at its end: {example}"
        assert example.response.strip() == example.response, f"strip the response of {example}"
    if name == "medcalc":
        asked = {example.meta["calculator_id"] for example in examples}
        assert asked == {calculator.id for calculator in CALCULATORS}


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_no_prompt_forbids_what_its_target_has(tmp_path, name, variant):
    """A prompt asks for an explanation if the target has one, and never for the bare answer."""
    bare = ("no other text", "not other text", "should be a tuple", "just the date")
    explains = {"cot": ("Explain", "Reason step by step"), "label_only": ("only",)}[variant]
    for example in make(tmp_path, name, variant):
        forbidden = [words for words in bare if words in example.prompt]
        assert not forbidden, f"the prompt must not say {forbidden}: {example}"
        asked = any(words in example.prompt for words in explains)
        assert asked, f"a prompt of {variant} must contain {' or '.join(explains)!r}: {example}"
        lines = {"cot": "at least two lines", "label_only": "one line"}[variant]
        fits = ("\n" in example.response) == (variant == "cot")
        assert fits, f"a response of {variant} must have {lines}: {example}"
