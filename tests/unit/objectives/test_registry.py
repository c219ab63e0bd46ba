"""Every method through its hooks: names, options, the batch it needs, its gradient."""

import dataclasses
import math
import re
import sys
import textwrap
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.spec import MethodSpec
from sft_tradeoff.system.validation import explain

DEFAULTS = {
    "sft": {},
    "talr": {
        "tau": "median",
        "quantile": None,
        "level": "sequence",
        "floor": 0.01,
        "normalize": False,
        "top_k": None,
        "frozen": False,
    },
    "flow": {"tau": "median", "level": "sample"},
    "l2_reg": {"strength": 1e-3},
    "lora": {"rank": 64, "alpha": 64.0},
    "wise_ft": {"alpha": 0.5, "of": "sft"},
    "kl_reg": {"beta": 0.1, "direction": "forward"},
    "dft": {},
    "eaft": {"alpha": 1.0},
    "asft": {"strength": 0.05},
    "stm": {"max_perplexity": 2.5, "normalize": False},
    "psft": {"clip_high": 0.28, "refresh_every": 8},
    "token_subset": {"keep": "hard", "threshold": 0.5},
}
# Each way of weighing tokens, and the weight of a batch's only token (see below).
WEIGHING = [
    ("talr", {}, math.exp(-1)),
    ("talr", {"tau": "mean"}, math.exp(-1)),
    ("talr", {"level": "token"}, math.exp(-1)),
    ("talr", {"quantile": 0.3}, math.exp(-1)),
    ("talr", {"tau": 4.0}, math.exp(-0.5)),
    ("talr", {"tau": 4, "level": "token"}, math.exp(-0.5)),
    ("talr", {"tau": 4.0, "normalize": True}, 1.0),
    ("talr", {"top_k": 0.4}, 1.0),
    ("talr", {"frozen": True}, math.exp(-1)),
    ("talr", {"frozen": True, "tau": 4.0}, math.exp(-0.25)),
    ("flow", {}, math.exp(-2)),
    ("flow", {"tau": 4.0}, math.exp(-0.25)),
    ("flow", {"level": "token"}, math.exp(-2)),
    ("dft", {}, math.exp(-2)),
    ("asft", {}, math.exp(-2)),
    ("eaft", {}, 1 / 3),
    ("eaft", {"alpha": 2.0}, 1 / 9),
    ("stm", {}, 0.0),
    ("stm", {"max_perplexity": 3.0}, 1.0),
    ("stm", {"normalize": True}, 0.0),
    ("stm", {"max_perplexity": 3.0, "normalize": True}, 1.0),
    ("psft", {}, math.exp(-0.5)),
    ("token_subset", {}, 1.0),
    ("token_subset", {"keep": "easy"}, 0.0),
    ("token_subset", {"keep": "easy", "threshold": 0.3}, 1.0),
]
# A method that is not listed above is tried with its defaults.
WEIGHING += [(k, {}, None) for k, m in METHODS.items() if m.weights and k not in DEFAULTS]
VARIANTS = [(name, options) for name, options, _ in WEIGHING]
ENDS = [1, 5, 7, 12]  # sequences of 1, 4, 2 and 5 tokens
SEQUENCE = torch.tensor([0] + [1] * 4 + [2] * 2 + [3] * 5)


def random_batch(seed):
    generator = torch.Generator().manual_seed(seed)
    nll, reference, shift = -torch.rand(3, ENDS[-1], generator=generator).log()
    return TokenBatch(
        nll=nll,
        sequence=SEQUENCE,
        reference_nll=reference,
        reference_median=0.9,
        old_nll=nll + 0.3 * (shift - 1),
        entropy_top20=math.log(20) * torch.rand(ENDS[-1], generator=generator),
    )


def part(batch, start, stop):
    """Some tokens of a batch; what belongs to the training set stays."""
    columns = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    cut = {k: v[start:stop] for k, v in columns.items() if isinstance(v, torch.Tensor)}
    return dataclasses.replace(batch, **cut)


def weights(name, options, batch):
    return METHODS[name].weights(batch, METHODS[name].options(**options))


def test_the_methods_and_their_defaults():
    """The values are those of the papers as far as they are known."""
    assert set(DEFAULTS) <= set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name and method.source
    for name in DEFAULTS:
        method = METHODS[name]
        assert MethodSpec(name=name).options == DEFAULTS[name]
        assert method.options(**DEFAULTS[name]) == method.options()


def test_the_example_of_the_guide_works(monkeypatch):
    """The method and its test, as README.md shows them."""
    guide = Path("src/sft_tradeoff/objectives/README.md").read_text(encoding="utf-8")
    method, test = map(textwrap.dedent, re.findall(r"```python\n(.*?)```", guide, re.DOTALL))
    module = types.ModuleType("sft_tradeoff.objectives.contrary")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(method, vars(module))
    exec(test, names := {})
    names["test_weights_by_hand"]()
    batch, options = random_batch(0), module.METHOD.options(power=2)
    expected = (1 - (-batch.nll).exp()).square()
    torch.testing.assert_close(module.METHOD.weights(batch, options), expected)
    with pytest.raises(ValidationError, match="power"):
        module.METHOD.options(power=-1)


def test_only_lora_trains_adapters():
    kinds = {name for name, m in METHODS.items() if m.parameterization == "adapter"}
    assert kinds == {"lora"}
    options = METHODS["lora"].options(rank=8)
    assert METHODS["lora"].adapter(options) == {
        "r": 8,
        "lora_alpha": 64.0,
        "lora_dropout": 0.0,  # dropout would make the result depend on how the batch is split
        "target_modules": "all-linear",
    }


def test_every_method_that_weighs_tokens_is_tried_below():
    assert {name for name, m in METHODS.items() if m.weights} == {name for name, _ in VARIANTS}


@pytest.mark.parametrize("name", [name for name, m in METHODS.items() if not m.weights])
def test_methods_without_weights_read_no_statistics(name):
    options = METHODS[name].options()
    assert not options.whole_batch and not options.needs


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_declared_statistics_are_those_that_are_read(name, options):
    """Without the others nothing changes; without one of them there are no weights."""
    batch, needs = random_batch(0), METHODS[name].options(**options).needs
    optional = {"reference_nll", "old_nll", "entropy_top20"}
    assert needs <= optional
    least = dataclasses.replace(batch, **dict.fromkeys(optional - needs))
    assert torch.equal(weights(name, options, least), weights(name, options, batch))
    for missing in needs:
        with pytest.raises(AssertionError):
            weights(name, options, dataclasses.replace(batch, **{missing: None}))


def weights_of_halves(name, options, batch, cut):
    halves = part(batch, 0, cut), part(batch, cut, ENDS[-1])
    return torch.cat([weights(name, options, half) for half in halves])


def is_whole_batch(variant):
    name, options = variant
    return METHODS[name].options(**options).whole_batch


@pytest.mark.parametrize(("name", "options"), [v for v in VARIANTS if not is_whole_batch(v)])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), cut=st.sampled_from(ENDS[:-1]))
def test_weights_of_the_halves_are_those_of_the_whole(name, options, seed, cut):
    """``whole_batch`` is false: micro-batches may be weighed one by one."""
    batch = random_batch(seed)
    halves = weights_of_halves(name, options, batch, cut)
    torch.testing.assert_close(halves, weights(name, options, batch))


@pytest.mark.parametrize(("name", "options"), [v for v in VARIANTS if is_whole_batch(v)])
def test_weights_of_the_halves_are_others_where_the_whole_batch_counts(name, options):
    """``whole_batch`` is true for a reason: here is a batch that must not be split."""
    batch = random_batch(3)
    halves = weights_of_halves(name, options, batch, cut=5)
    assert (halves - weights(name, options, batch)).abs().max() > 0.05


@pytest.mark.parametrize(("name", "options", "expected"), [v for v in WEIGHING if v[2] is not None])
def test_a_batch_of_one_token_by_hand(name, options, expected):
    """ℓ = 2 now (any statistic of the batch is 2, too), 1.5 at the last refresh, 1 under θ0.

    θ0's perplexity e = 2.72 lies above STM's 2.5 and below 3; FLOW's τ is the training set's 0.5;
    EAFT's entropy is a third of ln 20. Frozen TALR has the batch statistic 1 of θ0.
    """
    batch = TokenBatch(
        nll=torch.tensor([2.0]),
        sequence=torch.tensor([3]),
        reference_nll=torch.tensor([1.0]),
        reference_median=0.5,
        old_nll=torch.tensor([1.5]),
        entropy_top20=torch.tensor([math.log(20) / 3]),
    )
    assert weights(name, options, batch).tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_one_sequence_and_certain_tokens_give_finite_weights(name, options):
    """p = 1 everywhere: all losses and the temperature's statistics are zero.

    What weight such a token has is up to the method; for those listed above it is known.
    """
    zeros = torch.zeros(4)
    batch = TokenBatch(zeros, torch.zeros(4, dtype=torch.int64), zeros, 0.0, zeros, zeros)
    # A one-hot prediction has no entropy, and no such token is hard.
    hard = name == "token_subset" and options.get("keep", "hard") == "hard"
    expected = 0.0 if name == "eaft" or hard else 1.0
    found = weights(name, options, batch)
    assert found.isfinite().all() and (found >= 0).all()
    if name not in DEFAULTS:
        return
    if "top_k" in options:  # ⌈0.4·4⌉ = 2 of equal tokens are kept
        assert found.tolist() == pytest.approx([1, 1, 0.01, 0.01])
    else:
        assert found.tolist() == pytest.approx([expected] * 4)


def with_an_impossible_token():
    """The third of three sequences is one token with p = 0."""
    nll = torch.tensor([1.0, 3.0, math.inf])
    return TokenBatch(nll, torch.arange(3), nll, 2.0, nll, torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("name", "options"), [v for v in VARIANTS if v[1].get("tau") != "mean"], ids=str
)
def test_an_impossible_token_gives_finite_weights(name, options):
    """(The mean loss of such a batch is infinite: no temperature. Its loss stops the run.)"""
    found = weights(name, options, with_an_impossible_token())
    assert found.isfinite().all() and (found >= 0).all()


def nll_of(logits):
    """Losses of label 1 at each of the N positions: [N, V] -> [N]."""
    return -logits.log_softmax(-1)[:, 1]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_gradient_is_that_of_the_loss_with_constant_weights(name, options):
    """Autograd, given weights made from the attached losses, against central differences.

    The differences hold the weights, in float64: any gradient through a weight would show.
    """
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(ENDS[-1], 3, dtype=torch.float64, generator=generator).requires_grad_()
    nll, batch = nll_of(logits), random_batch(2)
    attached = dataclasses.replace(
        batch,
        nll=nll,
        reference_nll=batch.reference_nll * logits[:, 0].exp(),
        old_nll=nll + 0.1 * logits[:, 0],
        entropy_top20=batch.entropy_top20 * logits.softmax(-1)[:, 0],
    )
    w = weights(name, options, attached)
    assert not w.requires_grad
    found = torch.autograd.grad((w * nll).mean(), logits)[0]
    expected, step = torch.zeros_like(logits), 1e-5
    with torch.no_grad():
        for i in range(logits.numel()):
            shift = torch.zeros_like(logits).flatten().index_fill(0, torch.tensor(i), step)
            up, down = (nll_of(logits + s * shift.view_as(logits)) for s in (1, -1))
            expected.view(-1)[i] = (w * (up - down)).mean() / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_loss_is_linear_in_the_weights(name, options):
    """d/dℓ of Σ w·ℓ/N is w/N: twice the weights, twice the step, and weight 0 teaches nothing."""
    batch = random_batch(3)
    nll = batch.nll.clone().requires_grad_()
    w = weights(name, options, dataclasses.replace(batch, nll=nll))
    (w * nll).mean().backward()
    torch.testing.assert_close(nll.grad, w / len(w))


def refusal(name, options):
    """The message that a user reads."""
    with pytest.raises(ValidationError) as caught:
        MethodSpec(name=name, options=options)
    return explain(caught.value, MethodSpec.model_json_schema())


@pytest.mark.parametrize(
    ("name", "option", "value", "range_"),
    [
        ("talr", "tau", 0, "0.0 must be > 0, or 'median' or 'mean'"),
        ("talr", "tau", 0.0, "0.0 must be > 0, or 'median' or 'mean'"),
        ("talr", "tau", -1, "-1.0 must be > 0, or 'median' or 'mean'"),
        ("talr", "tau", "0", "0.0 must be > 0, or 'median' or 'mean'"),
        ("talr", "tau", math.nan, "finite number"),
        ("talr", "tau", "mode", "'median' or 'mean'"),
        ("talr", "quantile", 1.0, "less than 1"),
        ("talr", "quantile", 0.0, "greater than 0"),
        ("talr", "floor", 1.5, "less than or equal to 1"),
        ("talr", "floor", -0.1, "greater than or equal to 0"),
        ("talr", "top_k", 0.0, "greater than 0"),
        ("talr", "top_k", 1.1, "less than or equal to 1"),
        ("talr", "level", "sample", "'sequence', 'token' or 'each_sequence'"),
        ("talr", "floor", 2, "(range [0, 1])"),
        ("talr", "quantile", 1.5, "(range (0, 1))"),
        ("kl_reg", "beta", -2, "(range [0, 1e+06])"),
        ("flow", "tau", 0, "0.0 must be > 0, or 'median'"),
        ("flow", "tau", -0.5, "-0.5 must be > 0, or 'median'"),
        ("flow", "tau", "mean", "'median'"),
        ("flow", "level", "sequence", "'sample' or 'token'"),
        ("l2_reg", "strength", -1e-3, "greater than or equal to 0"),
        ("lora", "rank", 0, "greater than or equal to 1"),
        ("lora", "rank", 2.5, "integer"),
        ("lora", "alpha", 0.0, "greater than 0"),
        ("wise_ft", "alpha", 1.1, "less than or equal to 1"),
        ("wise_ft", "alpha", -0.1, "greater than or equal to 0"),
        ("kl_reg", "beta", -0.1, "greater than or equal to 0"),
        ("kl_reg", "beta", math.inf, "finite number"),
        ("kl_reg", "direction", "backward", "'forward' or 'reverse'"),
        ("eaft", "alpha", -1.0, "greater than or equal to 0"),
        ("asft", "strength", -0.05, "greater than or equal to 0"),
        ("stm", "max_perplexity", 1.0, "greater than 1"),
        ("token_subset", "threshold", 1.0, "less than 1"),
        ("token_subset", "threshold", 0.0, "greater than 0"),
        ("token_subset", "keep", "soft", "'easy' or 'hard'"),
        ("psft", "clip_high", 0.0, "greater than 0"),
        ("psft", "clip_high", -0.2, "greater than 0"),
        ("psft", "refresh_every", 0, "greater than or equal to 1"),
    ],
)
def test_out_of_range_options_are_refused_by_name_value_and_range(name, option, value, range_):
    text = refusal(name, {option: value})
    assert f"method {name!r}: {option}" in text
    assert range_ in text
    assert str(value) in text


@pytest.mark.parametrize("name", METHODS)
def test_unknown_options_are_refused(name):
    """With the options that there are, or the one that was meant."""
    assert f"method {name!r}: clip_low: unknown key" in refusal(name, {"clip_low": 0.2})
    for option in METHODS[name].options.model_fields:
        assert f"did you mean {option!r}?" in refusal(name, {f"{option}x": 1})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("talr", {"tau": True}, "true is not a number"),
        ("psft", {"refresh_every": True}, "true is not a number"),
        ("talr", {"quantile": 0.3, "tau": 4.0}, "quantile 0.3 replaces tau 4.0"),
        ("talr", {"top_k": 0.3, "tau": 4.0}, "top_k 0.3 does not use a temperature"),
    ],
)
def test_what_would_be_silently_misread_is_refused(name, options, words):
    assert words in refusal(name, options)


def test_unknown_methods_are_refused():
    assert "unknown method 'tlar'; did you mean 'talr'?" in refusal("tlar", {})


def test_an_integer_temperature_is_a_fixed_one():
    """YAML writes 1 for 1.0; it must not fall through to a statistic of the batch."""
    assert MethodSpec(name="talr", options={"tau": 1}).options["tau"] == 1.0
    assert not METHODS["talr"].options(tau=1).whole_batch
