"""The response mask, token by token, for SmolLM2's ChatML and for another style of template."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from sft_tradeoff.chat import render_prompt
from sft_tradeoff.domains.build import write_domain
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenization import encode_rendered, tokenize_example
from sft_tradeoff.models.tokenized import TokenizationError, TokenizedData
from sft_tradeoff.models.tokenizer import generation_ends, load_tokenizer
from sft_tradeoff.study.config import load_study
from sft_tradeoff.tokens.tokenize import tokenize_file

RECORD = {"id": "a", "prompt": "2+2?", "response": "It is 4."}


def pieces(tokenizer, example):
    """(token text, supervised) of every token."""
    texts = [tokenizer.decode([i]) for i in example.input_ids]
    return list(zip(texts, example.response_mask, strict=True))


@pytest.mark.pretrained
def test_mask_of_smollm2_token_by_token(pretrained_model):
    """Supervised: the response's own tokens and <|im_end|>; not the newline that follows it."""
    tokenizer = load_tokenizer(pretrained_model)
    found = pieces(tokenizer, tokenize_example(tokenizer, RECORD, 1000))
    prompt = [
        "<|im_start|>",
        "system",
        "\n",
        "You",
        " are",
        " a",
        " helpful",
        " AI",
        " assistant",
        " named",
        " Sm",
        "ol",
        "LM",
        ",",
        " trained",
        " by",
        " H",
        "ugging",
        " Face",
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "user",
        "\n",
        "2",
        "+",
        "2",
        "?",
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "ass",
        "istant",
        "\n",
    ]
    response = ["It", " is", " ", "4", ".", "<|im_end|>"]
    assert found == [(t, False) for t in prompt] + [(t, True) for t in response]


# sha256 of ids, mask and offsets as they were when results/published/quick was made.
PUBLISHED_TOKENS = {"esci-cot": ("a107dabce22ffee6", "adaf44b957c5a1ca")}


@pytest.mark.pretrained
def test_the_published_study_has_the_tokens_that_are_made_today(pretrained_model, tmp_path):
    tokenizer = load_tokenizer(pretrained_model)
    study = load_study(Path("config/studies/quick.yaml"))
    for domain in study.domains:
        write_domain(domain, tmp_path / domain.label)
        found = []
        for split in ("train", "test"):
            data = tmp_path / domain.label / f"{split}.jsonl"
            made = tokenize_file(tokenizer, data, study.training.max_length)
            assert not made.truncated.any()
            arrays = (made.input_ids, made.response_mask, made.offsets)
            found.append(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16])
        assert tuple(found) == PUBLISHED_TOKENS[domain.label]
    ends = generation_ends(pretrained_model)
    assert ends == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_mask_of_a_byte_level_bracket_template_token_by_token():
    """`<s>[USER] 2+2? [/USER] It is 4.</s>`: one token per byte, supervised after the prompt."""
    tokenizer = byte_tokenizer()
    found = pieces(tokenizer, tokenize_example(tokenizer, RECORD, 1000))
    prompt = ["<s>", *"[USER] 2+2? [/USER] "]
    response = [*"It is 4.", "</s>"]
    assert found == [(t, False) for t in prompt] + [(t, True) for t in response]


def test_template_without_end_of_turn_gets_eos():
    """The model must learn to stop even if the template marks no end."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    found = pieces(tokenizer, tokenize_example(tokenizer, RECORD, 1000))
    assert "".join(t for t, learned in found if learned) == "It is 4.</s>"
    assert "".join(t for t, learned in found if not learned) == "user: 2+2?\nassistant: "


@pytest.mark.parametrize("template_bos", ["{{ bos_token }}", ""])
@pytest.mark.parametrize("tokenizer_adds", [True, False])
def test_training_sees_the_same_prompt_tokens_as_generation(tokenizer_adds, template_bos):
    """Those of Transformers' own apply_chat_template: a BOS only where the template has one."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template_bos + tokenizer.chat_template.removeprefix("{{ bos_token }}")
    if tokenizer_adds:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
        assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    example = tokenize_example(tokenizer, RECORD, 1000)
    prompt = example.input_ids[: example.response_mask.index(True)]
    messages = [{"role": "user", "content": RECORD["prompt"]}]
    stock = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompt == stock
    assert prompt == encode_rendered(tokenizer, render_prompt(tokenizer, RECORD))
    assert prompt.count(tokenizer.bos_token_id) == bool(template_bos)
    assert tokenizer.bos_token_id not in example.input_ids[len(prompt) :]


def test_truncation_cuts_the_end_of_the_response_only():
    tokenizer = byte_tokenizer()
    whole = tokenize_example(tokenizer, RECORD, 1000)
    n_prompt = whole.response_mask.index(True)
    short = tokenize_example(tokenizer, RECORD, n_prompt + 3)
    assert short.truncated and not whole.truncated
    assert short.input_ids == whole.input_ids[: n_prompt + 3]
    assert sum(short.response_mask) == 3


def test_no_room_for_any_response_token_is_an_error():
    tokenizer = byte_tokenizer()
    n_prompt = tokenize_example(tokenizer, RECORD, 1000).response_mask.index(True)
    with pytest.raises(TokenizationError, match=r"example 'a'.*max_length"):
        tokenize_example(tokenizer, RECORD, n_prompt)


def test_the_error_leads_to_the_users_line_and_the_keys():
    record = RECORD | {"meta": {"line": 7}}
    with pytest.raises(TokenizationError) as caught:
        tokenize_example(byte_tokenizer(), record, 3)
    text = str(caught.value)
    assert text.startswith("example 'a' (line or row 7 of your data): the prompt has 21 tokens")
    assert text.endswith("raise training.max_length and evaluation.max_length in the study file")


@pytest.mark.parametrize("key", ["prompt", "response", "system"])
@pytest.mark.parametrize("unknown", ["<unk>", None])
def test_text_that_the_tokenizer_does_not_know_is_an_error(key, unknown):
    """Without byte fallback it becomes <unk> or is lost."""
    letters = {c: i for i, c in enumerate(sorted(set("2+?It is4.[USERYTM]/ Be bri\n")))}
    backend = Tokenizer(models.BPE(vocab=letters | {"<unk>": 50}, merges=[], unk_token=unknown))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = byte_tokenizer().chat_template
    record = RECORD | {"system": "Be brief"}
    with pytest.raises(TokenizationError, match="the system turn: 'f' becomes"):
        tokenize_example(tokenizer, record, 1000)
    record |= {"system": "Be 4", key: "2 你 2"}
    name = "system turn" if key == "system" else key
    with pytest.raises(TokenizationError, match=f"represent the {name}: '你2' becomes '(<unk>)?2'"):
        tokenize_example(tokenizer, record, 1000)


def test_empty_response_is_an_error():
    with pytest.raises(TokenizationError, match="example 'a'"):
        tokenize_example(byte_tokenizer(), {**RECORD, "response": "  "}, 100)


def test_template_that_rewrites_the_conversation_is_an_error():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% if add_generation_prompt %}A{% else %}B{% endif %}{{ messages[-1]['content'] }}"
    )
    with pytest.raises(TokenizationError, match="chat_template"):
        tokenize_example(tokenizer, RECORD, 100)


def test_file_round_trip(tmp_path, jsonl, examples):
    tokenizer = byte_tokenizer()
    first = examples[0]["id"]
    data = tokenize_file(
        tokenizer, jsonl(examples), 200, lambda r: "first" if r["id"] == first else "others"
    )
    data.save(tmp_path / "data.npz")
    again = TokenizedData.load(tmp_path / "data.npz")
    assert len(again) == len(examples)
    assert again.cluster.tolist() == [0] + [1] * (len(examples) - 1)
    for i, record in enumerate(examples):
        expected = tokenize_example(tokenizer, record, 200)
        ids, mask = again.example(i)
        assert ids.tolist() == expected.input_ids
        assert mask.tolist() == expected.response_mask
    assert np.array_equal(again.lengths, [len(again.example(i)[0]) for i in range(len(again))])


EARLIER = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]


def test_earlier_turns_are_read_and_not_learned():
    """`<s>[USER] 1+1? [/USER] 2</s>[USER] 2+2? [/USER] It is 4.</s>`."""
    tokenizer = byte_tokenizer()
    found = pieces(tokenizer, tokenize_example(tokenizer, RECORD | {"history": EARLIER}, 1000))
    prompt = ["<s>", *"[USER] 1+1? [/USER] 2", "</s>", *"[USER] 2+2? [/USER] "]
    response = [*"It is 4.", "</s>"]
    assert found == [(t, False) for t in prompt] + [(t, True) for t in response]


@pytest.mark.parametrize("place", [0, 1])
def test_what_no_turn_may_contain_is_found_in_earlier_turns(place):
    history = [dict(turn) for turn in EARLIER]
    history[place]["content"] += "</s>"
    name = f"earlier turn {place + 1} \\({history[place]['role']}\\)"
    with pytest.raises(TokenizationError, match=f"the {name} contains '</s>', a control token"):
        tokenize_example(byte_tokenizer(), RECORD | {"history": history}, 1000)

    letters = {c: i for i, c in enumerate(sorted(set("2+?It is4.1[USER]/ \n")))}
    backend = Tokenizer(models.BPE(vocab=letters | {"<unk>": 50}, merges=[], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = byte_tokenizer().chat_template
    tokenize_example(tokenizer, RECORD | {"history": EARLIER}, 1000)
    history[place]["content"] = "1 你"
    with pytest.raises(TokenizationError, match=f"represent the {name}: '你' becomes '<unk>'"):
        tokenize_example(tokenizer, RECORD | {"history": history}, 1000)


def test_a_long_history_is_named_where_no_response_fits():
    """1 + 20 + 1 + 1 + 20 tokens."""
    with pytest.raises(TokenizationError, match="prompt and the turns before it have 43 tokens"):
        tokenize_example(byte_tokenizer(), RECORD | {"history": EARLIER}, 43)
