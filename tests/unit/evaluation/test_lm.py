"""The lm-eval class gives stock HFLM's answers: log-likelihoods, rolling sums, generations."""

import itertools

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.models.two_part import load_in_two_parts
from sft_tradeoff.study.spec import EvaluationSpec
from tests.unit.evaluation.stock import (
    OPTIONS,
    PAIRS,
    PROMPTS,
    add_bos,
    agree,
    generations_agree,
    instances,
    lms,
    loud,
)


@pytest.fixture(
    scope="module",
    params=itertools.product(["left", "right"], ["adds BOS", "has BOS", "no BOS"]),
    ids=lambda p: "-".join(p).replace(" ", "-"),
)
def both(request, random_model, model):
    side, bos = request.param
    tokenizer = load_tokenizer(random_model)
    tokenizer.padding_side = side
    if bos == "no BOS":
        tokenizer.bos_token = None
    elif bos == "adds BOS":
        add_bos(tokenizer)
    return lms(model, tokenizer)


def test_loglikelihood_agrees_with_stock(both):
    agree(*both, PAIRS, 1e-4)


def test_one_item_agrees_with_stock(plain):
    for pair in PAIRS:
        agree(*plain, [pair], 1e-4)


def test_two_part_products_agree_with_stock(random_model):
    """Log-likelihoods, greedy and stock's own decoding, which all compute in bfloat16."""
    model = load_in_two_parts(random_model)
    both = lms(model, load_tokenizer(random_model))
    agree(*both, PAIRS, 5e-2)
    for extra in ({}, {"num_beams": 1}):
        generations_agree(*both, [(prompt, {**OPTIONS, **extra}) for prompt in PROMPTS])


def test_rolling_agrees_with_stock(plain):
    """Where the tokenizer adds nothing; test_prompt_encoding.py has the others."""
    ours, stock = plain
    texts = [("short",), ("a much longer text, several windows long. " * 12,), ("x",)]
    found = ours.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    expected = stock.loglikelihood_rolling(
        instances("loglikelihood_rolling", texts), disable_tqdm=True
    )
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_greedy_generations_agree_with_stock(both):
    found = generations_agree(*both, [(prompt, OPTIONS) for prompt in PROMPTS])
    assert len(set(found)) == len(PROMPTS)


def test_stop_strings_and_budgets_agree_with_stock(plain):
    """Options differ between the requests of one call; the answers keep the requests' order."""
    free = generations_agree(*plain, [(prompt, OPTIONS) for prompt in PROMPTS])
    # Two characters that occur amid the free answers, so that some rows stop early.
    options = [
        {**OPTIONS, "until": [free[1][5], free[2][3:5]]},
        {**OPTIONS, "until": free[0][-1]},
        {**OPTIONS, "max_gen_toks": 1},
        {"until": ["</s>", ""], "max_gen_toks": 7},
        {"until": [free[3][2]], "temperature": 0.0, "max_new_tokens": 9},
    ]
    requests = [(prompt, option) for prompt in PROMPTS for option in options]
    found = generations_agree(*plain, requests)
    assert len({len(text) for text in found}) > 4


def test_some_rows_end_early_as_in_stock(random_model, model):
    """EOS is a token that some prompts' answers hold and others do not."""
    ours, _ = lms(model, load_tokenizer(random_model))
    requests = [(prompt, OPTIONS) for prompt in PROMPTS]
    free = ours.generate_until(instances("generate_until", requests))
    tokenizer = load_tokenizer(random_model)
    common = min(
        set("".join(free)) & set(map(chr, range(33, 127))),
        key=lambda c: abs(sum(c in text for text in free) - len(free) / 2),
    )
    end = tokenizer.convert_tokens_to_ids(common)
    original, model.generation_config.eos_token_id = (
        model.generation_config.eos_token_id,
        [257, end],
    )
    try:
        found = generations_agree(*lms(model, tokenizer), requests)
    finally:
        model.generation_config.eos_token_id = original
    assert {len(f) < len(whole) for f, whole in zip(found, free, strict=True)} == {True, False}


@pytest.mark.parametrize("extra", [{"do_sample": True, "temperature": 0.9}, {"num_beams": 2}])
def test_other_decoding_is_left_to_stock(random_model, model, extra):
    ours, stock = lms(model, load_tokenizer(random_model), stock_batch=3)
    requests = [(prompt, {**OPTIONS, **extra}) for prompt in PROMPTS[:3]]
    torch.manual_seed(0)
    found = ours.generate_until(instances("generate_until", requests))
    torch.manual_seed(0)
    expected = stock.generate_until(instances("generate_until", requests), disable_tqdm=True)
    assert found == expected


def test_the_models_own_generation_settings_are_respected(random_model):
    """A repetition penalty changes what stock's greedy decoding answers."""
    model = loud(load_model(random_model, torch.float32))
    tokenizer = load_tokenizer(random_model)
    requests = [(prompt, OPTIONS) for prompt in PROMPTS]
    free = generations_agree(*lms(model, tokenizer), requests)
    model.generation_config.repetition_penalty = 3.0
    assert generations_agree(*lms(model, tokenizer), requests) != free


def test_a_sliding_window_is_left_to_the_plain_path(random_model):
    """Its cache drops keys and its layers need another mask: no sharing, same answers."""
    config = MistralConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    ours, stock = lms(loud(MistralForCausalLM(config)), load_tokenizer(random_model))
    agree(ours, stock, PAIRS, 1e-3)
    generations_agree(ours, stock, [(prompt, OPTIONS) for prompt in PROMPTS[:3]])


def test_a_model_that_padding_changes_answers_one_prompt_at_a_time(random_model):
    """RWKV has no mask: on the left, padding is text that it has read."""
    config = RwkvConfig(
        vocab_size=259,
        hidden_size=32,
        attention_hidden_size=32,
        num_hidden_layers=2,
        context_length=256,
        bos_token_id=256,
        eos_token_id=257,
    )
    tokenizer = load_tokenizer(random_model)
    ours, stock = lms(loud(RwkvForCausalLM(config)), tokenizer)
    requests = [(prompt, OPTIONS) for prompt in PROMPTS]
    found = generations_agree(ours, stock, requests)
    _, batched = lms(ours.model, tokenizer, stock_batch=3)
    assert batched.generate_until(instances("generate_until", requests)) != found


@pytest.mark.parametrize("stop", ["special", "special and text", "text", "EOS", "none"])
def test_stock_decoding_ends_answers_where_ours_does(random_model, stop):
    """The same weights with a window that nothing reaches, which leaves decoding to stock.

    The answers are letters, one of which is made a special token: a decoded text is without it.
    """
    sizes = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    models = [
        loud(MistralForCausalLM(MistralConfig(**sizes, **ids, sliding_window=window)))
        for window in (None, 1000)
    ]
    tokenizer = load_tokenizer(random_model)
    letters = tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz"))
    with torch.no_grad():
        for model in models:
            model.lm_head.weight[[i for i in range(259) if i not in letters]] = 0
    requests = instances("generate_until", [(p, {**OPTIONS, "until": []}) for p in PROMPTS])
    free = lms(models[0], tokenizer)[0].generate_until(requests)
    # Amid one answer, so that its row ends before the batch does.
    mark, after = next(
        (text[i], text[i + 1])
        for text in free
        for i in range(2, 8)
        if text.index(text[i]) == i and not all(text[i] in other for other in free)
    )
    if stop == "EOS":
        tokenizer.eos_token = mark
    elif stop != "text":
        tokenizer.add_special_tokens({"additional_special_tokens": [mark]})
    until = {"special and text": [mark + after], "EOS": [], "none": []}.get(stop, [mark])
    asked = instances("generate_until", [(p, {**OPTIONS, "until": until}) for p in PROMPTS])
    ours, stocks = (lms(model, tokenizer)[0] for model in models)
    assert ours._shares and not stocks._shares
    found = ours.generate_until(asked)
    assert stocks.generate_until(asked) == found
    assert any(len(a) < len(b) - 1 for a, b in zip(found, free, strict=True)) == (stop != "none")
    assert stop == "none" or any(a == b for a, b in zip(found, free, strict=True))


def test_long_choices_over_a_real_vocabulary_agree_with_stock(random_model):
    """A sum over 49,152 tokens in another order than stock's differs at every token, one way.

    Six choices of 60 tokens for a context of 200. The sum in double precision would be
    4·10⁻⁶ nats from stock's at each token, 2·10⁻⁴ at a choice. What sharing and batching round is
    smaller, and in no direction: as far from float64 as stock.
    """
    torch.manual_seed(0)
    sizes = {"vocab_size": 49152, "hidden_size": 64, "intermediate_size": 128}
    config = LlamaConfig(
        **sizes,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=None,
    )
    model = loud(LlamaForCausalLM(config), spread=0.5)
    context = torch.randint(49152, (1, 200))
    texts = model.generate(context, do_sample=True, max_new_tokens=60, num_return_sequences=6)
    requests = [(None, text[:200], text[200:]) for text in texts.tolist()]
    tokenizer = load_tokenizer(random_model)
    ours, stock = lms(model, tokenizer, stock_batch=4, batch_tokens=4096, max_length=300)
    found, expected = (
        np.array([nats for nats, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)])
        for lm in (ours, stock)
    )
    assert np.abs(found - expected).max() < 1e-4
    exact = HFLM(
        model.double(), tokenizer=tokenizer, backend="causal", max_length=300, batch_size=4
    )._loglikelihood_tokens(requests, disable_tqdm=True)
    errors = [np.abs(nats - [e for e, _ in exact]).max() for nats in (found, expected)]
    assert errors[0] < 1.25 * errors[1] + 2e-5


@pytest.mark.parametrize("n_positions", [256, 125])
def test_learned_positions_are_the_depths_in_the_tree(random_model, n_positions):
    """GPT-2 adds a vector for each position: a wrong one would change every later token.

    It has none beyond its window: of 125 tokens a pass cannot be padded to 128.
    """
    sizes = {"vocab_size": 259, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": n_positions}
    ids = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    model = loud(GPT2LMHeadModel(GPT2Config(**sizes, **ids)))
    ours, stock = lms(model, load_tokenizer(random_model), max_length=min(128, n_positions))
    assert ours._shares
    full = [(None, [1] * 60, [2] * 65)]  # the last token is only predicted
    (found, _), (expected, _) = (lm._loglikelihood_tokens(full)[0] for lm in (ours, stock))
    assert found == pytest.approx(expected)
    agree(ours, stock, PAIRS, 1e-4)
    generations_agree(ours, stock, [(prompt, OPTIONS) for prompt in PROMPTS])


@pytest.mark.parametrize("n_context", [1, 50, 500])
def test_a_continuation_as_long_as_the_window_agrees_with_stock(plain, n_context):
    """128 tokens in a window of 128: of the context the last token stays, to predict the first."""
    generator = np.random.default_rng(n_context)
    context, last = generator.integers(256, size=(2, max(n_context, 128))).tolist()
    requests = [(None, context[:n_context], last[:128]), (None, context[:n_context], [7])]
    found, expected = (lm._loglikelihood_tokens(requests, disable_tqdm=True) for lm in plain)
    # Stock sums in float32, whose neighbours are 6e-5 apart at 800 nats.
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], rel=2e-7, abs=1e-4)


@pytest.mark.parametrize("continuation", [[], [1] * 129])
def test_what_stock_refuses_is_refused(plain, continuation):
    for lm in plain:
        with pytest.raises(AssertionError):
            lm._loglikelihood_tokens([(None, [5, 6], continuation)], disable_tqdm=True)


def test_stocks_own_type_of_softmax_is_meant(random_model, model):
    """Without a softmax type, as lm-eval's command line has it, stock uses the model's own."""
    tokenizer = load_tokenizer(random_model)
    ours, _ = lms(model, tokenizer)
    stock = HFLM(model, tokenizer=tokenizer, backend="causal", max_length=128, batch_size=16)
    agree(ours, stock, PAIRS, 1e-4)


@pytest.mark.pretrained
def test_pretrained_model_agrees_with_stock(pretrained_model):
    """SmolLM2: equal in float32; in bfloat16 as near to that as rounding lets stock itself be."""
    tokenizer = load_tokenizer(pretrained_model)
    pairs = [("Question: Where is Paris?\nAnswer:", c) for c in (" France", " a banana", " 7")]
    ours, stock = lms(load_model(pretrained_model, torch.float32).eval(), tokenizer)
    agree(ours, stock, pairs, 1e-4)
    exact = [nats for nats, _ in ours.loglikelihood(instances("loglikelihood", pairs))]
    rounded = load_lm(pretrained_model, EvaluationSpec(batch_tokens=512))
    found = [nats for nats, _ in rounded.loglikelihood(instances("loglikelihood", pairs))]
    assert found == pytest.approx(exact, abs=0.3)
    assert np.argmax(found) == 0
