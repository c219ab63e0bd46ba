"""KL from θ0: against a plain formula, 0 for θ0 itself, and equal to the change of code length."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from sft_tradeoff.analysis.tables import KL, TEXT_CHANGE, TEXT_KL
from sft_tradeoff.evaluation.base_states import BaseStates, BaseStatesMismatch, Places
from sft_tradeoff.evaluation.divergence import Compared, base_head, compare, divergence_rows
from sft_tradeoff.evaluation.evaluate import StateFiles, evaluate
from sft_tradeoff.evaluation.kl_reference import write_prompt_states
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.evaluation.sampled_texts import write_sampled_texts
from sft_tradeoff.models.load import load_model, save_model
from sft_tradeoff.models.two_part import split_model
from sft_tradeoff.study.names import SAMPLED_TEXTS
from sft_tradeoff.study.runs import DivergenceConfig, EvaluationConfig
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import sha256_of
from tests.unit.evaluation.material import DOMAIN
from tests.unit.evaluation.stock import loud

LABEL = "esci-label_only"
N_TEXTS, N_TOKENS, N_POSITIONS = 400, 20, 30


def changed(folder, amount):
    """A model whose weights differ from θ0's by random numbers."""
    model = load_model(folder, torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight += amount * weight.std(correction=0) * noise
    return model


@pytest.fixture(scope="module")
def theta0(random_model, tmp_path_factory):
    """A θ0 whose distributions are not flat."""
    model = loud(load_model(random_model, torch.float32))
    folder = tmp_path_factory.mktemp("theta0") / "model"
    save_model(model, dict(model.named_parameters()), random_model, folder)
    return folder


@pytest.fixture(scope="module")
def texts(theta0, tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.npz"
    write_sampled_texts(theta0, N_TEXTS, N_TOKENS, path)
    return path


def logits_of(model, places):
    """Full logits [N, V] float64 of each text by itself, and the tokens that follow."""
    found = []
    with torch.inference_mode():
        for start, end in zip(places.offsets[:-1], places.offsets[1:], strict=True):
            found.append(model(torch.tensor(places.ids[start:end][None])).logits[0].double())
    return torch.cat(found)[places.position]


def test_against_the_formula(theta0, texts):
    """Σ p₀ (log p₀ − log p) and log p₀(x) − log p(x), from the models' own logits."""
    states = BaseStates.load(texts, {})
    model, places = changed(theta0, 0.2), states.places
    p0, p = (
        logits_of(m, places).log_softmax(-1) for m in (load_model(theta0, torch.float32), model)
    )
    found = compare(model, base_head(theta0), states)
    expected = (p0.exp() * (p0 - p)).sum(-1).numpy()
    assert expected.mean() > 0.01
    np.testing.assert_allclose(found.kl, expected, rtol=1e-3, atol=1e-6)
    row = torch.arange(len(p0))
    token = torch.from_numpy(places.ids[places.position + 1].astype(np.int64))
    np.testing.assert_allclose(found.change, (p0 - p)[row, token].numpy(), rtol=1e-3, atol=1e-5)


def test_theta0_against_itself_is_exactly_0(theta0, texts):
    states = BaseStates.load(texts, {})
    found = compare(load_model(theta0, torch.float32).eval(), base_head(theta0), states)
    assert not found.kl.any() and not found.change.any()


def test_the_kl_of_a_tiny_change_is_not_noise(theta0, texts):
    """It grows with the square of the change, far below what bfloat16 and float32 sums resolve."""
    states, head = BaseStates.load(texts, {}), base_head(theta0)
    small, large = (
        compare(changed(theta0, amount), head, states).kl.mean() for amount in (1e-5, 1e-3)
    )
    assert 0 < small < 1e-8
    assert large / small == pytest.approx(1e4, rel=0.05)


def test_a_model_in_two_parts_has_the_same_kl(theta0, texts):
    states, head, model = BaseStates.load(texts, {}), base_head(theta0), changed(theta0, 0.05)
    expected = compare(model, head, states).kl
    split_model(model)
    np.testing.assert_allclose(compare(model, head, states).kl, expected, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("amount", [0.05, 0.3])
def test_change_of_code_length_is_the_kl(theta0, texts, amount):
    """Proposition 3.1 with P = θ0: per text the difference has mean 0, and it is narrow."""
    found = compare(changed(theta0, amount), base_head(theta0), BaseStates.load(texts, {}))
    difference = np.bincount(found.text, found.change - found.kl)
    kl = np.bincount(found.text, found.kl).mean()
    stderr = difference.std(ddof=1) / math.sqrt(N_TEXTS)
    assert abs(difference.mean()) < 3.5 * stderr
    assert 3.5 * stderr < kl


def test_at_the_end_of_a_text_no_token_follows():
    places = Places.of([("0", [1, 2, 3], [1, 2])])
    head = torch.nn.Linear(2, 5)
    model = SimpleNamespace(
        modules=list,
        device="cpu",
        config=SimpleNamespace(get_text_config=lambda: SimpleNamespace()),
        get_output_embeddings=lambda: head,
        base_model=lambda **_: SimpleNamespace(last_hidden_state=torch.zeros(1, 8, 2)),
    )
    found = compare(model, head, BaseStates(places, np.zeros((2, 2), np.float32), {}))
    assert isinstance(found, Compared) and np.isnan(found.change).tolist() == [False, True]


def test_nothing_is_measured_unless_it_is_wanted():
    assert divergence_rows(None, None) == []


# --- as part of an evaluation ---------------------------------------------------------------------


def config(**settings):
    return EvaluationConfig(
        run="r",
        model="m",
        model_digest="",
        domains=(DOMAIN,),
        evaluation=EvaluationSpec(dtype=settings.pop("dtype", "float32")),
        divergence=DivergenceConfig(
            kl_positions=settings.get("positions", N_POSITIONS),
            sampled_texts=settings.get("texts", N_TEXTS),
            sampled_tokens=N_TOKENS,
        ),
    )


@pytest.fixture
def files(material, theta0, texts):
    """What an evaluation reads besides a model."""
    write_prompt_states(theta0, material / "test.npz", N_POSITIONS, material / "prompts.npz")
    data, tokens = [material / "esci/test.jsonl"], [material / "test.npz"]
    out, states = material / "out/eval.json", StateFiles([material / "prompts.npz"], texts)
    return data, tokens, out, states


def evaluated(model_folder, theta0, files, settings):
    data, tokens, out, states = files
    evaluate(settings, model_folder, theta0, data, tokens, out, states)
    items = pd.read_parquet(out.parent / "items.parquet")
    return json.loads(out.read_text()), items.set_index(["benchmark", "metric"]).sort_index()


def test_an_evaluation_keeps_every_example_and_text(theta0, files, tmp_path):
    model, folder = changed(theta0, 0.1), tmp_path / "changed"
    save_model(model, dict(model.named_parameters()), theta0, folder)
    report, items = evaluated(folder, theta0, files, config())
    prompts = items.loc[(LABEL, KL)]
    assert prompts["size"].sum() == N_POSITIONS and (prompts["value"] > 0).all()
    test_ids = set(items.loc[(LABEL, "nll"), "item"])
    assert set(prompts["item"]) <= test_ids
    change, kl = (items.loc[(SAMPLED_TEXTS, metric)] for metric in (TEXT_CHANGE, TEXT_KL))
    states = BaseStates.load(files[-1].texts, {})
    assert change["size"].tolist() == kl["size"].tolist() == states.places.size.tolist()
    found = compare(model, base_head(theta0), states)
    assert kl["value"].sum() == pytest.approx(found.kl.sum() / math.log(2), rel=1e-5)
    assert change["value"].sum() == pytest.approx(found.change.sum() / math.log(2), rel=1e-4)
    assert report["meta_info"]["test_sha256"][SAMPLED_TEXTS] == sha256_of(files[-1].texts)
    assert 0 < report["eval_info"]["divergence_s"] < report["eval_info"]["time_s"]
    assert report["run_info"]["config"]["divergence"]["kl_positions"] == N_POSITIONS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_theta0s_own_evaluation_measures_0(theta0, files, dtype):
    """In bfloat16 θ0's weights, which it does not represent, keep 16 bits of mantissa."""
    _, items = evaluated(theta0, theta0, files, config(dtype=dtype))
    # A change of code length is of first order in what is rounded off, KL of second.
    most = {(LABEL, KL): 1e-6, (SAMPLED_TEXTS, TEXT_KL): 1e-6, (SAMPLED_TEXTS, TEXT_CHANGE): 1e-2}
    for key, value in most.items():
        assert items.loc[key, "value"].abs().max() <= (0 if dtype == "float32" else value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": 31}, "prompts.npz: kl_positions is 30, the run has 31; delete the file"),
        ({"texts": 7}, "texts.npz: sampled_texts is 400, the run has 7; delete the file"),
        ({"positions": 0}, "kl_positions is 0 and divergence.sampled_texts 400, but 1 files of"),
        ({"texts": 0}, "divergence.sampled_texts 0, but 1 files of 'sft-tradeoff kl-reference' "),
    ],
)
def test_files_that_do_not_fit_the_study_are_refused_before_any_score(
    theta0, files, settings, message, monkeypatch
):
    monkeypatch.setattr("sft_tradeoff.evaluation.evaluate.run_tasks", None)
    with pytest.raises(UserError, match=re.escape(message)):
        evaluated(theta0, theta0, files, config(**settings))
    assert not files[2].exists()


def test_states_of_another_theta0_are_refused(theta0, files, random_model):
    with pytest.raises(BaseStatesMismatch, match=r"prompts\.npz: model_sha256 is .*delete the"):
        evaluated(theta0, random_model, files, config())


def test_weights_are_measured_as_trained_although_they_are_rounded_afterwards(theta0, texts):
    """Scores as shipped come last: they round the weights in place."""
    lm = load_lm(theta0, EvaluationSpec(dtype="bfloat16"))
    states = BaseStates.load(texts, {})
    assert compare(lm.model, base_head(theta0), states).kl.mean() < 1e-6
