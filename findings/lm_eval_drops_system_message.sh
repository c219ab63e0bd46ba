#!/usr/bin/env bash
# lm_eval 0.4.13: with apply_chat_template=True the task's description and the system instruction make the
# system message. Where a model's chat template refuses one (Gemma's does: "System role not supported"), HFLM
# leaves the message out, so the model is never told what to do. A warning says that the system role was
# removed, not what is lost; the results still record the description as part of the task.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'torch==2.13.0' 'transformers==5.23.0' 'lm_eval[hf]==0.4.13' 'datasets==5.2.0'
cd "$folder"
HF_HOME="$folder/cache" venv/bin/python -W ignore - 2> log.txt <<'PYTHON' || { cat log.txt; exit 1; }
import json
import pathlib

import lm_eval
import tokenizers
import transformers
from lm_eval.models.huggingface import HFLM

words = {"[UNK]": 0, "[EOS]": 1, "yes": 2, "no": 3}
splitter = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
splitter.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=splitter, unk_token="[UNK]", eos_token="[EOS]", pad_token="[EOS]",
)
config = transformers.LlamaConfig(
    vocab_size=4, hidden_size=32, intermediate_size=48,
    num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
)
model = transformers.AutoModelForCausalLM.from_config(config)
pathlib.Path("items.jsonl").write_text(json.dumps({"text": "Water is wet.", "answer": "yes"}) + "\n")
TASK = {
    "task": "statements",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "items.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "description": "Is the statement true? Answer yes or no.",
    "doc_to_text": "{{text}}",
    "doc_to_choice": ["yes", "no"],
    "doc_to_target": "answer",
}
TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
REFUSAL = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def evaluate(template):
    """Return what the model with this chat template is asked, and the description in the results."""
    tokenizer.chat_template = template
    results = lm_eval.simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer), tasks=[TASK], apply_chat_template=True,
        system_instruction="Be brief.", bootstrap_iters=0,
    )
    prompt, _ = results["samples"]["statements"][0]["arguments"][0]
    return prompt, results["configs"]["statements"]["description"]


for template, expected in (
    (TURNS, "<system>Be brief.\n\nIs the statement true? Answer yes or no.<user>Water is wet.<assistant>"),
    (REFUSAL + TURNS, "<user>Water is wet.<assistant>"),
):
    prompt, recorded = evaluate(template)
    print(f"prompt: {prompt!r}\n  description in the results: {recorded!r}")
    assert (prompt, recorded) == (expected, TASK["description"]), "this has changed"
PYTHON
grep -o "Failed to apply chat template.*" log.txt
