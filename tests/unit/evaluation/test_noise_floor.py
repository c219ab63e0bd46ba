"""The noise floor of θ0's scores: 0 if nothing changes, otherwise the largest difference."""

import json

import numpy as np
import pytest

from sft_tradeoff import cli
from sft_tradeoff.evaluation import noise_floor
from sft_tradeoff.evaluation.noise_floor import scores_of, variants
from sft_tradeoff.study.runs import EvaluationConfig
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import checksum_path
from tests.unit.evaluation.material import DOMAIN, run

TASKS = {"piqa": 2, "code_length_code": None}
DOMAIN_NLL, TEXT = ("esci-label_only", "nll"), ("code_length_code", "bits_per_byte")


@pytest.fixture
def measure(material, random_model):
    """Evaluate the random model as θ0, then measure its noise floor; return both."""

    def measure(record_tokens=False, **settings):
        report, _ = run(material, random_model, TASKS, record_tokens=record_tokens, **settings)
        spec = EvaluationSpec(tasks=TASKS, **settings)
        config = EvaluationConfig(
            run="out",
            model="m",
            model_digest="",
            domains=(DOMAIN,),
            evaluation=spec,
            record_tokens=record_tokens,
        )
        out = material / "noise_floor/m.json"
        cli.main(
            [
                *("noise-floor", "--config", config.model_dump_json()),
                *("--base-model", str(random_model)),
                *("--data", str(material / "esci/test.jsonl")),
                *("--tokens", str(material / "test.npz")),
                *("--items", str(material / "out/items.parquet"), "--out", str(out)),
            ]
        )
        assert checksum_path(out).is_file()
        own = {(m["benchmark"], m["metric"]): m["value"] for m in report["eval_info"]["metrics"]}
        return own, json.loads(out.read_text())

    return measure


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (
            {"batch_tokens": 1000},
            {
                "batch_tokens 500": {"batch_tokens": 500},
                "batch_tokens 250": {"batch_tokens": 250},
                "float32": {"dtype": "float32"},
            },
        ),
        (
            {"dtype": "float32"},
            {
                "batch_tokens 2048": {"batch_tokens": 2048},
                "batch_tokens 1024": {"batch_tokens": 1024},
            },
        ),
        ({"backend": "vllm"}, {"float32": {"dtype": "float32"}}),
        ({"batch_tokens": 1, "dtype": "float32"}, {"batch_tokens 1": {"batch_tokens": 1}}),
    ],
)
def test_what_is_varied(settings, changes):
    assert variants(EvaluationSpec(**settings)) == changes


def test_nothing_is_repeated_where_scores_are_float32_anyway(slow_bfloat16):
    float32 = EvaluationSpec(dtype="float32")
    assert variants(EvaluationSpec(dtype="bfloat16")) == variants(float32)


def test_scores_are_ratios():
    rows = [("b", "1", "m", 3.0, 2.0), ("b", "2", "m", 1.0, 6.0), ("b", "1", "o", 1.0, 4.0)]
    assert scores_of(rows) == {("b", "m"): 0.5, ("b", "o"): 0.25}


def test_theta0_against_theta0_is_zero(measure, monkeypatch):
    """The same settings, in bfloat16: every bit of every text's code length is the same."""
    monkeypatch.setattr(noise_floor, "variants", lambda spec: {"nothing": {}})
    own, found = measure(dtype="bfloat16")
    benchmark, metric = TEXT
    assert found[benchmark][metric] == {
        "floor": 0.0,
        "score": own[TEXT],
        "variants": {"nothing": 0.0},
    }


def test_the_floor_is_the_largest_difference(measure):
    own, found = measure(dtype="bfloat16", batch_tokens=256)
    assert {(b, m) for b, of in found.items() for m in of} == {DOMAIN_NLL, TEXT}
    for benchmark, metric in (DOMAIN_NLL, TEXT):
        entry = found[benchmark][metric]
        assert entry["score"] == own[benchmark, metric]
        assert set(entry["variants"]) == {"batch_tokens 128", "batch_tokens 64", "float32"}
        assert entry["floor"] == max(entry["variants"].values())
        assert 1e-7 < entry["floor"] < 0.05 * own[benchmark, metric]


def test_float32_differs_by_what_bfloat16_rounds(measure, material, random_model):
    """The variant's score is that of an evaluation in float32."""
    _, found = measure(dtype="bfloat16")
    report, _ = run(material, random_model, TASKS, dtype="float32")
    exact = {(m["benchmark"], m["metric"]): m["value"] for m in report["eval_info"]["metrics"]}
    for benchmark, metric in (DOMAIN_NLL, TEXT):
        entry = found[benchmark][metric]
        difference = abs(exact[benchmark, metric] - entry["score"])
        assert entry["variants"]["float32"] == pytest.approx(difference, abs=2e-6)


def test_single_tokens_have_a_floor_where_they_are_kept(measure, monkeypatch, material):
    """It is no smaller than what the mean loss changes by, and far smaller against θ0 itself."""
    _, found = measure(record_tokens=True, dtype="bfloat16")
    domain = found[DOMAIN_NLL[0]]
    assert set(domain) == {"nll", "token_change"}
    of_tokens, of_mean = domain["token_change"], domain["nll"]
    assert of_tokens["score"] == 0 < of_tokens["floor"] < 0.05
    assert set(of_tokens["variants"]) == set(of_mean["variants"])
    assert all(
        of_tokens["variants"][name] >= change for name, change in of_mean["variants"].items()
    )
    monkeypatch.setattr(noise_floor, "variants", lambda spec: {"nothing": {}})
    _, same = measure(record_tokens=True, dtype="bfloat16")
    # Not 0: evaluation has scored these tokens on the way, from the keys that generation keeps.
    assert same[DOMAIN_NLL[0]]["token_change"]["floor"] < of_tokens["floor"] / 10


def test_a_theta0_without_tokens_is_refused(tmp_path):
    with pytest.raises(UserError, match="kept no tokens; delete"):
        noise_floor.token_changes(tmp_path, {"d": np.zeros(2)})
    assert noise_floor.token_changes(tmp_path, {}) == {}
