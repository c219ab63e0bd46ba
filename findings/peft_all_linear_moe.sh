#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.23.0: target_modules="all-linear" on a mixture of experts of the GLM-4.5
# family reaches attention, the router and the routed experts, but not the gate, up and down projections of
# the dense first layer and of every shared expert, although these are plain torch.nn.Linear. No error says so.
# On Llama 4 and PhiMoE it takes a router that is a subclass of torch.nn.Linear but returns a tuple, and the
# first forward pass raises "AttributeError: 'tuple' object has no attribute 'dtype'".
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


SIZES = dict(
    vocab_size=40, hidden_size=32, intermediate_size=48,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8,
)
GLM = transformers.Glm4MoeConfig(
    **SIZES, num_hidden_layers=2, moe_intermediate_size=16,
    n_routed_experts=4, num_experts_per_tok=2, first_k_dense_replace=1,
)
LLAMA = transformers.Llama4TextConfig(
    **SIZES, num_hidden_layers=1, intermediate_size_mlp=48, num_local_experts=4, pad_token_id=0,
)
PHI = transformers.PhimoeConfig(**SIZES, num_hidden_layers=1, num_local_experts=4)


def adapt(model):
    """Return the adapted model and the names of the layers that have an adapter."""
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear"))
    layers = [name for name, m in adapted.named_modules() if hasattr(m, "lora_A")]
    return adapted, {name.removeprefix("base_model.model.") for name in layers}


model = transformers.AutoModelForCausalLM.from_config(GLM)
linear = {name for name, m in model.named_modules() if type(m) is torch.nn.Linear} - {"lm_head"}
_, reached = adapt(model)
missed = sorted(linear - reached)
print("GLM-4.5, reached:", *sorted(reached), sep="\n  ")
print("GLM-4.5, linear layers without an adapter:", *missed, sep="\n  ")
parts = ("gate_proj", "up_proj", "down_proj")
assert missed == sorted(
    [f"model.layers.0.mlp.{part}" for part in parts]
    + [f"model.layers.1.mlp.shared_experts.{part}" for part in parts]
), "other layers are reached now"

tokens = torch.tensor([[1, 2, 3]])
for config, block in ((LLAMA, "feed_forward"), (PHI, "mlp")):
    model = transformers.AutoModelForCausalLM.from_config(config)
    model(tokens)
    adapted, reached = adapt(model)
    router = f"model.layers.0.{block}.router"
    assert router in reached, "the router is not reached any more"
    try:
        adapted(tokens)
    except AttributeError as error:
        print(f"{config.model_type}, adapter on {router}: {error}")
    else:
        raise SystemExit("the forward pass works now")
PYTHON
