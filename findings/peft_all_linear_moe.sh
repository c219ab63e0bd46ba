#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.23.0: target_modules="all-linear" on a mixture of experts of the GLM-4.5
# family reaches attention, the router and the routed experts, but not the gate, up and down projections of
# the dense first layer and of every shared expert, although these are plain torch.nn.Linear. No error says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  'torch==2.13.0' 'transformers==5.23.0' 'peft==0.21.2'
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import peft
import torch
import transformers

config = transformers.Glm4MoeConfig(
    vocab_size=40, hidden_size=32, intermediate_size=48, moe_intermediate_size=16,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    n_routed_experts=4, num_experts_per_tok=2, first_k_dense_replace=1,
)
model = transformers.AutoModelForCausalLM.from_config(config)
linear = {name for name, m in model.named_modules() if type(m) is torch.nn.Linear} - {"lm_head"}
adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear"))
reached = {
    name.removeprefix("base_model.model.")
    for name, m in adapted.named_modules()
    if hasattr(m, "lora_A")
}
missed = sorted(linear - reached)
print("reached:", *sorted(reached), sep="\n  ")
print("linear layers without an adapter:", *missed, sep="\n  ")
parts = ("gate_proj", "up_proj", "down_proj")
assert missed == sorted(
    [f"model.layers.0.mlp.{part}" for part in parts]
    + [f"model.layers.1.mlp.shared_experts.{part}" for part in parts]
), "other layers are reached now"
PYTHON
