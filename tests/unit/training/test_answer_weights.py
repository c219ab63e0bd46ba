"""The weight of the answer, from constructed losses, by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.spec import MethodSpec
from sft_tradeoff.training.answer_weights import (
    Losses,
    first_batches,
    theta0_losses,
    weigh_answers,
)
from sft_tradeoff.training.batching import collate
from sft_tradeoff.training.reference import reference_nll
from sft_tradeoff.training.token_loss import token_loss

LN4 = math.log(4)


def split(n=16, n_response=8, n_prompt=4):
    """Examples of one length; the fourth token of each response is the answer."""
    mask = [False] * n_prompt + [True] * n_response
    data = TokenizedData.from_examples(
        TokenizedExample(str(i), [1 + i % 7] * len(mask), mask, False) for i in range(n)
    )
    is_answer = np.zeros(len(data.input_ids), dtype=bool)
    is_answer[data.offsets[:-1] + n_prompt + 3] = True
    return data, is_answer


def constructed(data, is_answer, tags, answer, form_tags=0.0, form_answer=LN4, entropy=None):
    """Every tag costs the same, and so does every answer."""

    def per_token(tag, of_answer):
        return np.where(is_answer, of_answer, np.where(data.response_mask, tag, np.nan)).astype(
            "f4"
        )

    return Losses(
        per_token(tags, answer),
        None if entropy is None else per_token(*entropy),
        per_token(form_tags, form_answer),
    )


def weigh(name, losses=None, batch_size=4, **options):
    data, is_answer = split()
    losses = losses or constructed(data, is_answer, tags=0.5, answer=2.0)
    spec = MethodSpec(name=name, options=options)
    [row] = weigh_answers(data, first_batches(data, batch_size, 0), is_answer, losses, [spec])
    return row


def test_sft_and_methods_without_token_weights_are_left_out():
    data, is_answer = split()
    losses = constructed(data, is_answer, 0.5, 2.0)
    names = [name for name, method in METHODS.items() if method.merge is None]
    specs = [MethodSpec(name=name) for name in names if name != "eaft"]
    rows = list(weigh_answers(data, first_batches(data, 4, 0), is_answer, losses, specs))
    weighing = ["talr", "flow", "dft", "asft", "stm", "psft", "token_subset"]
    assert [row["method"] for row in rows] == weighing
    assert rows[0]["n_examples"] == 16
    assert (rows[0]["n_tokens"], rows[0]["n_answer_tokens"]) == (128, 16)
    assert rows[0]["answer_share"] == 1 / 8


def test_talr_by_hand_under_theta0():
    """τ = (7 · 0.5 + 2) / 8 = 0.6875: tags weigh e^(−0.5/τ) = 0.483, the answer e^(−2/τ) = 0.0545.

    Kept is 0.0545 over the mean, (7 · 0.483 + 0.0545) / 8 = 0.4296. Of w·(1 − p) the answer has
    0.0545 · 0.8647 of 0.0545 · 0.8647 + 7 · 0.483 · 0.3935; for SFT that is 0.8647 of
    0.8647 + 7 · 0.3935.
    """
    row = weigh("talr")
    assert row["tau_theta0"] == pytest.approx(0.6875)
    tag, answer = math.exp(-0.5 / 0.6875), math.exp(-2 / 0.6875)
    assert row["kept_theta0"] == pytest.approx(8 * answer / (7 * tag + answer), rel=1e-5)
    assert row["weight_share_theta0"] == pytest.approx(answer / (7 * tag + answer), rel=1e-5)
    miss_tag, miss = 1 - math.exp(-0.5), 1 - math.exp(-2)
    expected = answer * miss / (answer * miss + 7 * tag * miss_tag)
    assert row["gradient_share_theta0"] == pytest.approx(expected, rel=1e-5)
    expected = miss / (miss + 7 * miss_tag)
    assert row["sft_gradient_share_theta0"] == pytest.approx(expected, rel=1e-5)
    assert row["starved_theta0"] == 0


def test_talr_starves_a_label_once_its_tags_are_learned():
    """τ = ln 4 / 8, so the label has e^(−8), raised to the floor 0.01, beside 7 tags of weight 1.

    This is the state in which TALR stayed at chance on esci label_only. Under θ0 nothing shows.
    """
    row = weigh("talr")
    assert row["kept_theta0"] > 0.1
    assert row["tau_form"] == pytest.approx(LN4 / 8)
    assert row["kept_form"] == pytest.approx(8 * 0.01 / 7.01)
    assert row["starved_form"] == 1
    # Remedies: floor 0.1 beside 7 tags; τ = 1 gives the label its p = 1/4, but under θ0 e^(−2)
    # beside tags of e^(−1/2).
    theta0 = 8 * math.exp(-2) / (7 * math.exp(-0.5) + math.exp(-2))
    assert theta0 < 8 * 0.25 / 7.25
    assert row["remedies"] == f"`floor: 0.1` ({8 * 0.1 / 7.1:.0%}), `tau: 1.0` ({theta0:.0%})"


def test_remedies_that_change_nothing_or_too_little_are_not_listed():
    """τ = 1 already; a floor of 0.1 beside DFT's p would help, but its own is 0.1 already."""
    data, is_answer = split()
    losses = constructed(data, is_answer, tags=0.01, answer=6.0, form_answer=6.0)
    assert weigh("talr", losses, tau=1.0)["remedies"] == f"`floor: 0.1` ({8 * 0.1 / 7.1:.0%})"
    assert weigh("talr", losses, tau=1.0, floor=0.05)["kept_form"] < 0.1
    assert weigh("stm", losses)["remedies"] == ""  # e⁶ = 403 is above all perplexities listed


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"floor": 0.1}, 8 * 0.1 / 7.1),
        ({"floor": 0.0}, 8 * math.exp(-8) / (7 + math.exp(-8))),
        ({"tau": 1.0}, 8 * 0.25 / 7.25),
        ({"normalize": True}, 8 * 0.01 / 7.01),  # the same: all weights are rescaled
        ({"level": "each_sequence", "tau": "mean"}, 8 * 0.01 / 7.01),
        ({"top_k": 0.5}, 8 * 0.01 / (0.5 * 8 + 0.01 * 4)),  # 4 of 8 tokens weigh 1
    ],
)
def test_options_of_talr_once_the_form_is_learned(options, kept):
    assert weigh("talr", **options)["kept_form"] == pytest.approx(kept, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "theta0", "form"),
    [
        ("dft", {}, 8 * math.exp(-2) / (7 * math.exp(-0.5) + math.exp(-2)), 8 * 0.25 / 7.25),
        ("flow", {}, 1.0, 1.0),  # whole samples
        ("stm", {}, 0.0, 0.0),  # perplexity e² > 2.5 under θ0, which is not looked at again
        ("stm", {"max_perplexity": 8.0}, 1.0, 1.0),
        ("psft", {}, 1.0, 1.0),  # just after a refresh
    ],
)
def test_other_methods_by_hand(name, options, theta0, form):
    row = weigh(name, **options)
    assert row["kept_theta0"] == pytest.approx(theta0, rel=1e-5)
    assert row["kept_form"] == pytest.approx(form, rel=1e-5)


def test_flow_by_tokens_keeps_the_weights_of_theta0_when_the_form_is_learned():
    """τ is the median of the examples' means, 0.6875, as TALR's here."""
    row = weigh("flow", level="token")
    tag, answer = math.exp(-0.5 / 0.6875), math.exp(-2 / 0.6875)
    assert row["kept_theta0"] == pytest.approx(8 * answer / (7 * tag + answer), rel=1e-5)
    assert row["kept_form"] == row["kept_theta0"]


def test_eaft_takes_the_smaller_of_entropy_and_loss_once_the_form_is_learned():
    data, is_answer = split()
    losses = constructed(data, is_answer, 0.5, 2.0, entropy=(1.0, 1.5))
    row = weigh("eaft", losses)
    assert row["kept_theta0"] == pytest.approx(8 * 1.5 / (7 * 1.0 + 1.5), rel=1e-5)
    assert row["kept_form"] == pytest.approx(8.0, rel=1e-5)  # tags cost 0: only the label weighs


def test_stm_that_masks_everything_has_no_share_to_keep():
    data, is_answer = split()
    row = weigh("stm", constructed(data, is_answer, tags=5.0, answer=6.0))
    assert math.isnan(row["kept_theta0"])
    assert row["remedies"] == ""


def test_tokens_of_an_example_that_was_never_drawn_do_not_matter():
    """Statistics of the sample alone, as when θ0 reads only the first batches."""
    data, is_answer = split(n=200)
    batches = first_batches(data, 4, 0)
    rows = np.concatenate(batches)
    assert len(rows) == 64
    whole = constructed(data, is_answer, 0.5, 2.0)
    drawn = np.repeat(np.isin(np.arange(200), rows), data.lengths)
    some = dataclasses.replace(whole, nll=np.where(drawn, whole.nll, np.nan).astype("f4"))
    specs = [MethodSpec(name="flow"), MethodSpec(name="talr")]
    found = [list(weigh_answers(data, batches, is_answer, x, specs)) for x in (whole, some)]
    assert str(found[0]) == str(found[1])


def test_losses_of_theta0_are_those_that_training_sees(random_model):
    """The same as the stage ``reference``, and for the entropy as the training loop."""
    data, _ = split(n=6, n_response=5)
    model = load_model(random_model, torch.float32)
    rows = np.array([4, 1])
    nll, entropy = theta0_losses(model, data, rows)
    every = reference_nll(model, data)
    drawn = np.repeat(np.isin(np.arange(6), rows), data.lengths) & data.response_mask
    assert np.isnan(nll[~drawn]).all() and np.isnan(entropy[~drawn]).all()
    assert nll[drawn] == pytest.approx(every[drawn], rel=1e-5)
    batch = collate(data, np.array([1, 4]), 0, 0)
    expected = token_loss(model, batch, top_entropy=True).entropy_top20
    assert entropy[batch.token] == pytest.approx(expected.numpy(), rel=1e-5)
