"""Work that is shared or batched (contexts, texts, gold answers) without changing a score."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from sft_tradeoff.evaluation.lm import score_labels
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.suite.chat_task import chat_task
from tests.unit.evaluation.stock import OPTIONS, PROMPTS, add_bos, instances, lms, loud, naive


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


TOKENS = st.integers(0, 2)  # few, so that continuations share prefixes


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
    """Row 0: logits 0, log 3 → log ¼, log ¾. In row 1, a tie, the first is the greedy choice.

    Both labels of row 1 have log ½; only label 0 is a hit.
    """
    logits = torch.tensor([[0.0, math.log(3)], [7.0, 7.0]])
    place, label = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 0, 1, 0])
    nats, hit = score_labels(logits, place, label)
    assert nats.exp().tolist() == pytest.approx([0.75, 0.5, 0.5, 0.25])
    assert hit.tolist() == [True, True, False, False]


def test_gold_answers_longer_than_a_batch_are_scored_in_separate_batches(
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
