"""The lm-eval class gives stock HFLM's answers: log-likelihoods, rolling sums, generations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
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

from sft_tradeoff.evaluation.lm import SharedPrefixLM, score_labels
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.evaluation.prefix_tree import PrefixTree, tree_batches
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.padding import padded_width
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.study.spec import EvaluationSpec
from sft_tradeoff.suite.chat_task import chat_task

PAIRS = [
    ("Question: why?\nAnswer:", " because"),
    ("Question: why?\nAnswer:", " because of"),  # the one above begins it
    ("Question: why?\nAnswer:", " no"),
    ("Question: why?\nAnswer:", " "),
    ("Question: why?\nAnswer:", "!"),  # a single token
    ("", "unconditional text"),
    ("", "u"),
    ("one token", "!"),
    ("ends with spaces  ", "continues"),
    ("long " * 60, "tail"),  # 300 bytes: longer than the window of 128
    ("long " * 60, "t"),
    ("long " * 60, "another tail"),
    ("long " * 25, "crosses the window"),
    ("ünïcödé", " ☃"),
    ("Question: why?\nAnswer:", " because"),  # another document's, identical
]
OPTIONS = {"max_gen_toks": 12, "do_sample": False, "until": []}
PROMPTS = ["a", "Say something", "Somewhat longer than that", "long " * 60, "q"]


def instances(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)
    ]


def loud(model, seed=0, spread=0.3):
    """Larger weights, so that attention matters and generations are not one token repeated."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, spread, generator=generator)
    return model.eval()


def lms(model, tokenizer, stock_batch=1, batch_size=3, batch_tokens=300, max_length=128):
    """Ours, and stock as the reference."""
    common = {"pretrained": model, "tokenizer": tokenizer, "backend": "causal"}
    ours = SharedPrefixLM(
        batch_size=batch_size, batch_tokens=batch_tokens, max_length=max_length, **common
    )
    # Stock would round log-probabilities to bfloat16 without the softmax type.
    stock = HFLM(batch_size=stock_batch, max_length=max_length, softmax_dtype="float32", **common)
    return ours, stock


def agree(ours, stock, pairs, tolerance):
    found = ours.loglikelihood(instances("loglikelihood", pairs))
    expected = stock.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=tolerance)
    assert [f[1] for f in found] == [e[1] for e in expected]


def generations_agree(ours, stock, requests):
    found = ours.generate_until(instances("generate_until", requests))
    expected = stock.generate_until(instances("generate_until", requests), disable_tqdm=True)
    assert found == expected
    return found


def add_bos(tokenizer):
    """Let the tokenizer put BOS before every text, as Llama's does."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )


@pytest.fixture(scope="module")
def model(random_model):
    return loud(load_model(random_model, torch.float32))


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


@pytest.fixture(scope="module")
def plain(random_model, model):
    return lms(model, load_tokenizer(random_model))


def test_loglikelihood_agrees_with_stock(both):
    agree(*both, PAIRS, 1e-4)


def test_one_item_agrees_with_stock(plain):
    for pair in PAIRS:
        agree(*plain, [pair], 1e-4)


def test_loglikelihood_in_bfloat16_agrees_with_stock(random_model):
    model = load_model(random_model, torch.bfloat16).eval()
    agree(*lms(model, load_tokenizer(random_model)), PAIRS, 5e-2)


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


def test_choices_read_their_context_once(plain, monkeypatch):
    """19 context bytes; of each choice all but the last byte: 3, 2 more, and none for a byte.

    "abcd" and "abxyz" share "ab": a, b, c and x, y are 5 nodes. 19 + 5 = 24 tokens are read.
    """
    ours, _ = plain
    seen = []
    forward = ours.model.base_model.forward

    def spy(input_ids, **keywords):
        seen.append(input_ids.shape)
        return forward(input_ids=input_ids, **keywords)

    monkeypatch.setattr(ours.model.base_model, "forward", spy)
    pairs = [("exactly nineteen by", c) for c in ("abcd", "abxyz", "?")]
    ours.loglikelihood(instances("loglikelihood", pairs))
    assert seen == [(1, 24)]


def test_prefix_tree_by_hand():
    """1 2 3 9 and 1 2 4 5 6: nodes 1 2 3 4 5; 4 follows 2, and neither sees 3."""
    tree = PrefixTree()
    tree.add(0, [1, 2, 3, 9], [3])
    assert not tree.branches
    tree.add(1, [1, 2, 4, 5, 6], [2, 4])
    assert tree.branches
    assert tree.ids == [1, 2, 3, 4, 5]
    assert tree.parent == [-1, 0, 1, 1, 3]
    assert tree.depth == [0, 1, 2, 2, 3]
    assert tree.targets == [(2, 9, 0), (1, 4, 1), (4, 6, 1)]
    assert tree.attention().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def chain(sequence, n):
    """A tree of one sequence with n nodes, whose last token is scored."""
    tree = PrefixTree()
    tree.add(sequence, list(range(n + 1)), [n])
    return tree


def test_short_trees_fill_the_room_behind_long_ones():
    """16 columns, two rows: 12 and 10 with 3 behind the 10; then 9, which fits nowhere."""
    trees = [chain(i, n) for i, n in enumerate([9, 3, 12, 10])]
    batches = list(tree_batches(trees, 32, fill=True))
    assert [[len(tree) for tree in batch] for batch in batches] == [[13, 12], [9]]
    filled = batches[0][0]
    assert filled.parent == [*range(-1, 9), -1, 10, 11]
    assert filled.depth == [*range(10), *range(3)]
    assert filled.targets == [(9, 10, 3), (12, 3, 1)]
    assert filled.branches


def test_wide_rows_are_not_filled():
    """Two rows of 600 columns: 3 would fit behind the 590, but 600 are more than 512."""
    trees = [chain(i, n) for i, n in enumerate([600, 590, 3])]
    batches = list(tree_batches(trees, 1200, fill=True))
    assert [[len(tree) for tree in batch] for batch in batches] == [[590, 600], [3]]


@given(
    sizes=st.lists(st.integers(1, 600), max_size=30),
    batch_tokens=st.integers(1, 3000),
    fill=st.booleans(),
)
@settings(deadline=None)
def test_batches_hold_every_sequence_once_within_the_budget(sizes, batch_tokens, fill):
    trees = [chain(i, n) for i, n in enumerate(sizes)]
    batches = list(tree_batches(trees, batch_tokens, fill))
    rows = [tree for batch in batches for tree in batch]
    assert sorted(seq for tree in rows for *_, seq in tree.targets) == list(range(len(sizes)))
    assert sum(map(len, rows)) == sum(sizes)
    for batch in batches:
        width = padded_width(max(map(len, batch)))
        assert len(batch) == 1 or len(batch) * width <= batch_tokens
    if not fill:
        assert len(rows) == len(sizes)


def test_texts_are_batched_together_whatever_the_batch_size(plain, monkeypatch):
    """Texts of 100, 60 and 40 bytes are one pass of two rows: the last two share one."""
    ours, _ = plain
    seen = []
    forward = ours.model.base_model.forward

    def spy(input_ids, **keywords):
        seen.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **keywords)

    monkeypatch.setattr(ours.model.base_model, "forward", spy)
    monkeypatch.setattr(ours, "batch_size_per_gpu", 1)
    monkeypatch.setattr(ours, "batch_tokens", 208)
    texts = [("a" * 100,), ("b" * 60,), ("c" * 40,)]
    ours.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    assert seen == [(2, 104)]
    assert ours.batch_size == 1


def test_more_prompts_than_the_batch_size_are_generated_together_if_they_fit(plain, monkeypatch):
    """Prompts of 4 bytes and 12 new tokens: 96 tokens hold 6 rows, twice the batch size of 3."""
    ours, _ = plain
    seen = []
    monkeypatch.setattr(
        "sft_tradeoff.evaluation.lm.greedy_decode",
        lambda model, prompts, batch_size, **rest: seen.append(batch_size) or [[1]] * len(prompts),
    )
    monkeypatch.setattr(ours, "batch_tokens", 96)
    ours.generate_until(instances("generate_until", [("abcd", dict(OPTIONS))] * 3))
    monkeypatch.setattr(ours, "batch_tokens", 16)
    ours.generate_until(instances("generate_until", [("abcd", dict(OPTIONS))] * 3))
    assert seen == [6, 3]


def naive(model, context, continuation, window):
    """One full forward of one request, all logits."""
    ids = (context + continuation)[-(window + 1) :]
    n = min(len(continuation), len(ids) - 1)
    with torch.inference_mode():
        table = model(torch.tensor([ids[:-1]])).logits[0, -n:].double().log_softmax(-1)
    labels = torch.tensor(ids[-n:])
    return float(table[torch.arange(n), labels].sum()), bool((table.argmax(-1) == labels).all())


TOKENS = st.integers(0, 2)  # few, so that continuations share beginnings
REQUESTS = st.lists(
    st.tuples(
        st.lists(TOKENS, min_size=1, max_size=20).map(lambda ids: ids[: len(ids) // 4 * 4 + 1]),
        st.lists(TOKENS, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(requests=REQUESTS, batch_tokens=st.sampled_from([1, 16, 64]))
def test_any_requests_score_as_a_full_forward(random_model, model, requests, batch_tokens):
    """A window of 16 tokens: some contexts lose their start, each choice a different one."""
    ours, _ = lms(model, load_tokenizer(random_model), batch_tokens=batch_tokens, max_length=16)
    found = ours._loglikelihood_tokens([(None, *r) for r in requests], disable_tqdm=True)
    expected = [naive(model, *r, window=16) for r in requests]
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=1e-4)
    assert [f[1] for f in found] == [e[1] for e in expected]


def test_greedy_flag_is_true_for_the_argmax_continuation(plain):
    """Stock's own greedy choice of one byte must be flagged, any other byte not."""
    ours, _ = plain
    context = ours.tok_encode("Once upon a time")
    with torch.inference_mode():
        best = int(ours.model(torch.tensor([context])).logits[0, -1].argmax())
    flags = ours._loglikelihood_tokens(
        [(None, context, [best]), (None, context, [(best + 1) % 256])]
    )
    assert [flag for _, flag in flags] == [True, False]


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


@pytest.mark.parametrize("decoding", ["ours", "stock's"])
@pytest.mark.parametrize("template_bos", ["{{ bos_token }}", ""])
@pytest.mark.parametrize("tokenizer_adds", [True, False])
def test_generation_reads_the_prompt_tokens_of_training(
    random_model, model, monkeypatch, tokenizer_adds, template_bos, decoding
):
    """Three ways to one prompt: training, a chat task, and lm-eval's own use of the template.

    A prompt without template in the same call is encoded as stock encodes it.
    """
    tokenizer = load_tokenizer(random_model)
    tokenizer.chat_template = template_bos + tokenizer.chat_template.removeprefix("{{ bos_token }}")
    if tokenizer_adds:
        add_bos(tokenizer)
    ours, stock = lms(model, tokenizer)
    record = {"id": "a", "prompt": "2+2?", "response": "4"}
    messages = [{"role": "user", "content": "2+2?"}]
    wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    example = tokenize_example(tokenizer, record, 100)
    assert example.input_ids[: example.response_mask.index(True)] == wanted
    assert wanted.count(tokenizer.bos_token_id) == bool(template_bos)

    task = chat_task("t", [record], tokenizer, dict, {}, 2)
    (doc,) = task["custom_dataset"]()["test"]
    options = {**task["generation_kwargs"], **({"num_beams": 1} if decoding == "stock's" else {})}
    requests = [Instance("generate_until", doc, (doc["prompt"], options), 0)]
    requests += instances("generate_until", [("2+2?", options)])
    assert read_by(ours, requests, monkeypatch) == [wanted, stock.tok_encode("2+2?")]

    tokens_of_x = tokenizer("x", add_special_tokens=False)["input_ids"]
    other, _ = lms(model, tokenizer)
    text = other.apply_chat_template(messages)
    again = instances("generate_until", [(text, options)])
    assert read_by(other, again, monkeypatch) == [wanted]
    # The template ends with a space, which lm-eval counts to the continuation.
    assert other._encode_pair(text, "x") == (wanted[:-1], [*wanted[-1:], *tokens_of_x])
    assert other.add_bos_token is None


def read_by(lm, requests, monkeypatch):
    """Token ids of every prompt that generation reads, the longest first."""
    prompts = []
    forward = lm.model.base_model.forward

    def spy(input_ids, attention_mask, **keywords):
        if input_ids.shape[1] > 1:
            read = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            prompts.extend(ids[m.bool()].tolist() for ids, m in zip(input_ids, read, strict=True))
        return forward(input_ids=input_ids, attention_mask=attention_mask, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(lm.model.base_model, "forward", spy)
        lm.generate_until(requests, disable_tqdm=True)
    return sorted(prompts, key=len, reverse=True)


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


def test_announced_answers_are_scored_while_generation_reads_their_prompts(
    random_model, model, monkeypatch
):
    """Same losses and generations as apart; only the answer that was not announced costs a pass.

    "a" has a gold answer of one token, which needs no pass beyond the prompt's own.
    """
    tokenizer = load_tokenizer(random_model)
    asked, apart = (lms(model, tokenizer, batch_size=4)[0] for _ in range(2))
    prompts = ["a", "Say something", "Somewhat longer than that", "q"]
    golds = ["!", "of course", "a rather long answer to all of that", " yes"]
    requests = [
        (None, asked.tok_encode(p), asked.tok_encode(g))
        for p, g in zip(prompts, golds, strict=True)
    ]
    other = [(None, asked.tok_encode("q"), asked.tok_encode(" no"))]
    generate = instances("generate_until", [(p, dict(OPTIONS)) for p in prompts])
    expected = apart._loglikelihood_tokens(requests + other, disable_tqdm=True)
    asked.expect(requests)
    assert asked.generate_until(generate) == apart.generate_until(generate)
    passed = []
    score = asked._score
    monkeypatch.setattr(
        asked, "_score", lambda trees, *rest: passed.extend(map(len, trees)) or score(trees, *rest)
    )
    found = asked._loglikelihood_tokens(requests + other, disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=1e-4)
    assert [f[1] for f in found] == [e[1] for e in expected]
    assert passed == [len(other[0][1]) + len(other[0][2]) - 1]


@pytest.mark.parametrize("kind", ["learned", "dynamic"])
def test_a_long_prompt_beside_a_long_answer_stays_within_the_window(random_model, kind):
    """Prompts of 108, 40, 30 tokens and answers of 5, 68, 9 fit 128; 108 + 68 would not.

    GPT-2 has no vector beyond its window, and dynamic rotary angles change there for all tokens.
    """
    sizes = {"vocab_size": 259, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    if kind == "learned":
        config = GPT2Config(**sizes, n_embd=32, n_layer=2, n_head=2, n_positions=128)
        model = loud(GPT2LMHeadModel(config))
    else:
        layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
        config = LlamaConfig(
            **sizes,
            **layers,
            hidden_size=32,
            intermediate_size=64,
            max_position_embeddings=128,
            rope_parameters=rope,
        )
        model = loud(LlamaForCausalLM(config))
    tokenizer = load_tokenizer(random_model)
    asked, apart = (lms(model, tokenizer, batch_size=4, batch_tokens=4096)[0] for _ in range(2))
    prompts, answers = ["a" * 108, "b" * 40, "c" * 30], ["x" * 5, "y" * 68, "z" * 9]
    requests = [
        (None, asked.tok_encode(p), asked.tok_encode(a))
        for p, a in zip(prompts, answers, strict=True)
    ]
    expected = apart._loglikelihood_tokens(requests, disable_tqdm=True)
    asked.expect(requests)
    asked.generate_until(instances("generate_until", [(p, dict(OPTIONS)) for p in prompts]))
    assert len(asked._known) == 3
    found = asked._loglikelihood_tokens(requests, disable_tqdm=True)
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=1e-4)


def test_scores_of_labels_by_hand():
    """Row 0: logits 0, log 3 → log ¼, log ¾. Row 1 ties: the first of equals is the greedy choice.

    Both labels of row 1 have log ½; only label 0 is a hit.
    """
    logits = torch.tensor([[0.0, math.log(3)], [7.0, 7.0]])
    place, label = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 1, 0])
    nats, hit = score_labels(logits, place, label)
    assert nats.exp().tolist() == pytest.approx([0.75, 0.5, 0.5, 0.25])
    assert hit.tolist() == [True, True, False, False]


def test_gold_answers_longer_than_a_batch_are_scored_in_batches_of_their_own(
    random_model, model, monkeypatch
):
    """Four prompts of some tokens and answers of 60: 240 tokens at once would exceed 128."""
    ours = lms(model, load_tokenizer(random_model), batch_size=4, batch_tokens=128)[0]
    requests = [(None, ours.tok_encode(p), ours.tok_encode("x" * 60)) for p in [*PROMPTS[:3], "q"]]
    ours.expect(requests)
    monkeypatch.setattr(
        "sft_tradeoff.evaluation.lm.forced_states", lambda *t: pytest.fail("one large pass")
    )
    ours.generate_until(
        instances("generate_until", [(p, dict(OPTIONS)) for p in [*PROMPTS[:3], "q"]])
    )
    assert len(ours._loglikelihood_tokens(requests, disable_tqdm=True)) == 4
