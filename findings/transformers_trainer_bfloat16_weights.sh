#!/usr/bin/env bash
# transformers 5.23.0: from_pretrained keeps the dtype of the file, which is bfloat16 for most models, and
# Trainer(bf16=True), documented as mixed precision, then trains these weights without a float32 copy. At a
# learning rate of 1e-6 nearly all AdamW steps are too small for bfloat16: most weights never change, and no
# message says so. The same script with transformers 4.57.6, or with dtype=torch.float32, moves nearly all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'torch==2.13.0' 'transformers==5.23.0' 'accelerate==1.15.0'
cd "$folder"
cat > train.py <<'PYTHON'
import sys

import torch
import transformers

transformers.utils.logging.disable_progress_bar()
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=64, hidden_size=64, intermediate_size=128,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
)
transformers.AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained("model")
texts = torch.randint(0, 64, (64, 16))
rows = [{"input_ids": text, "labels": text} for text in texts]


def unchanged(steps, **options):
    """Return the dtype that is trained and the share of weights that no step has changed."""
    model = transformers.AutoModelForCausalLM.from_pretrained("model", **options)
    before = [weight.detach().clone() for weight in model.parameters()]
    settings = transformers.TrainingArguments(
        "out", learning_rate=1e-6, lr_scheduler_type="constant", weight_decay=0.0, max_steps=steps,
        bf16=True, use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no",
    )
    trainer = transformers.Trainer(model=model, args=settings, train_dataset=rows)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.remove_callback(transformers.trainer_callback.ProgressCallback)
    trainer.train()
    pairs = list(zip(before, model.parameters(), strict=True))
    same = sum((old == new).sum().item() for old, new in pairs)
    return model.dtype, same / sum(old.numel() for old, _ in pairs)


for name, options, expected in (
    ("default", {}, getattr(torch, sys.argv[1])),
    ("dtype=torch.float32", {"dtype": torch.float32}, torch.float32),
):
    dtype, share = unchanged(100, **options)
    print(f"transformers {transformers.__version__}, {name}: trains {dtype}, {share:.1%} of weights unchanged")
    assert dtype == expected, "this has changed"
    assert share > 0.9 if dtype == torch.bfloat16 else share < 0.01, "this has changed"
PYTHON
export TRANSFORMERS_VERBOSITY=warning HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python -W ignore train.py bfloat16
venv/bin/python -m pip install --quiet --disable-pip-version-check 'transformers==4.57.6'
venv/bin/python -W ignore train.py float32
