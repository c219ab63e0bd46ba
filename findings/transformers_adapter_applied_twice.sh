#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2: an adapter is saved into a folder, then merged, and the merged model
# is saved into the same folder. from_pretrained on this folder loads the merged weights and puts the adapter
# on top of them once more: it counts twice, and no message says so. The same call in an environment without
# peft gives the merged model.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'torch==2.13.0' 'transformers==5.23.0' 'peft==0.21.2'
cd "$folder"
cat > save.py <<'PYTHON'
import peft
import torch
import transformers

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=40, hidden_size=32, intermediate_size=48,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
)
model = transformers.AutoModelForCausalLM.from_config(config)
lora = peft.LoraConfig(target_modules="all-linear", init_lora_weights=False)  # not zero, as if trained
adapted = peft.get_peft_model(model, lora)
adapted.save_pretrained("model")
merged = adapted.merge_and_unload()
merged.save_pretrained("model")
torch.save(merged(torch.tensor([[1, 2, 3]])).logits.detach(), "logits.pt")
PYTHON
cat > load.py <<'PYTHON'
import sys

import torch
import transformers

model, info = transformers.AutoModelForCausalLM.from_pretrained("model", output_loading_info=True)
assert not any(info.values()), info
away = (model(torch.tensor([[1, 2, 3]])).logits - torch.load("logits.pt")).abs().max().item()
print(f"{sys.argv[1]}: logits differ from those of the merged model by up to {away:.2g}")
assert (away > 0.01) == (sys.argv[1] == "with peft"), "this has changed"
PYTHON
export TRANSFORMERS_VERBOSITY=warning HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python -W ignore save.py
ls model
venv/bin/python load.py "with peft"
venv/bin/python -m pip uninstall --quiet --yes peft
venv/bin/python load.py "without peft"
