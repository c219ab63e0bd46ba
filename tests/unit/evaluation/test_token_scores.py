"""Loss, entropy and rank of the tokens of right answers, beside an independent computation."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from sft_tradeoff.analysis.token_records import read_test_tokens
from sft_tradeoff.evaluation.token_scores import entropy_and_rank
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.training.reference import reference_statistics
from tests.unit.evaluation.material import run


def test_entropy_and_rank_by_hand():
    """p = 1/2, 1/4, 1/4, 0: H = 1.5 ln 2; in a tie both tokens have the better rank."""
    logits = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25]]).log()
    entropy, rank = entropy_and_rank(logits, torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 3, 1]))
    assert entropy.tolist() == pytest.approx([1.5 * np.log(2)] * 3 + [2 * np.log(2)])
    assert rank.tolist() == [1, 2, 4, 1]


@pytest.fixture
def recorded(material, random_model):
    """Items without and with single tokens, and the folder of the latter."""
    _, plain = run(material, random_model, {"piqa": 2})
    _, items = run(material, random_model, {"piqa": 2}, record_tokens=True)
    return plain, items, material / "out"


def test_tokens_agree_with_the_reference_stage(material, random_model, recorded):
    """The same numbers as θ0's statistics of these examples, and as the NLL of the items."""
    plain, items, folder = recorded
    pd.testing.assert_frame_equal(plain, items)  # recording changes no score
    frame = read_test_tokens(folder).frame
    data = TokenizedData.load(material / "test.npz")
    assert len(frame) == data.response_mask.sum()
    assert frame["token"].tolist() == data.input_ids[data.response_mask].tolist()
    batches = reference_statistics(load_model(random_model, torch.float32).eval(), data)
    expected = pd.concat([batch.to_pandas() for batch in batches]).sort_values("token")
    for column in ("nll", "entropy"):
        np.testing.assert_allclose(frame[column], expected[column], rtol=1e-4, atol=1e-4)
    assert (frame["rank"].to_numpy() == expected["rank"].to_numpy()).mean() > 0.99
    nll = items[items["metric"] == "nll"].set_index("item")["value"]
    assert frame.groupby("example")["nll"].sum().sort_index().to_numpy() == pytest.approx(
        nll.sort_index().to_numpy(), rel=1e-5
    )


def test_texts_make_up_the_response(material, random_model, recorded):
    frame = read_test_tokens(recorded[2]).frame
    first = frame[frame["example"] == frame["example"].iloc[0]]
    assert first["place"].tolist() == list(range(len(first)))
    record = json.loads((material / "esci" / "test.jsonl").read_text().splitlines()[0])
    assert "".join(first["text"]).startswith(record["response"])
    tokenizer = load_tokenizer(random_model)
    assert first["text"].tolist() == [tokenizer.decode([t]) for t in first["token"]]
