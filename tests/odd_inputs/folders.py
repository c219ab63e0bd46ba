"""Odd model folders: other architectures, and damage that folders suffer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sft_tradeoff.system.console import UserError
from tests.odd_inputs import front_door
from tests.odd_inputs.folder_damage import DAMAGE
from tests.odd_inputs.learn import learn as learn_study
from tests.odd_inputs.outcome import Expected, Outcome, refusal, verdict
from tests.odd_inputs.studies import shipped

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
SEEN_LATE = "NaN"  # damage that shows only when the weights are read
COPIED = ("llama", "qwen2", "gemma2", "phi3")  # to be damaged
# Model type -> sizes that its configuration calls otherwise, and what must happen.
ARCHITECTURES: dict[str, tuple[dict[str, Any], Expected]] = {
    "llama": ({}, "accepted"),
    "mistral": ({}, "accepted"),
    "qwen2": ({}, "accepted"),
    "qwen3": ({"head_dim": 8}, "accepted"),
    "gemma2": ({"head_dim": 8}, "accepted"),
    "gemma3_text": ({"head_dim": 8}, "accepted"),
    "phi": ({}, "accepted"),
    "phi3": ({}, "accepted"),
    "olmo2": ({}, "accepted"),
    "stablelm": ({}, "accepted"),
    "starcoder2": ({}, "accepted"),
    "smollm3": ({}, "accepted"),
    "glm4": ({"head_dim": 8}, "accepted"),
    "granite": ({"logits_scaling": 2.0}, None),
    "cohere": ({}, None),
    "gpt_neox": ({}, "accepted"),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048}, "accepted"),
    "opt": ({"ffn_dim": 64, "word_embed_proj_dim": 32}, "accepted"),
    "bloom": ({"n_layer": 2, "n_head": 4}, "accepted"),
    "falcon": ({}, "accepted"),
    "mixtral": ({"num_local_experts": 2}, "accepted"),
    "qwen2_moe": ({"num_experts": 4, "moe_intermediate_size": 32}, None),
    "mamba": ({"state_size": 4}, None),
    "mamba2": ({"num_heads": 8, "head_dim": 8, "n_groups": 2, "state_size": 8}, None),
    "bert": ({}, "refused"),
    "t5": ({"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8}, "refused"),
}


class FolderInput(NamedTuple):
    """A model folder.

    Args:
        name: What is odd.
        path: The folder as given to ``make own``.
        data: A usual data file.
        expected: Outcome.
    """

    name: str
    path: Path
    data: Path
    expected: Expected


def build(model_type: str, folder: Path) -> Path:
    """Write a tiny untrained model of an architecture with a tokenizer of bytes."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    from sft_tradeoff.models.random_weights import byte_tokenizer

    tokenizer = byte_tokenizer()
    ids = {f"{k}_token_id": getattr(tokenizer, f"{k}_token_id") for k in ("bos", "eos", "pad")}
    sizes = SIZES | ARCHITECTURES[model_type][0] | ids | {"vocab_size": len(tokenizer)}
    config = AutoConfig.for_model(model_type, **sizes)
    is_decoder = ARCHITECTURES[model_type][1] != "refused"
    torch.manual_seed(0)
    (AutoModelForCausalLM if is_decoder else AutoModel).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make(folder: Path, i: int, data: Path) -> FolderInput:
    """Write the i-th folder: the architectures first, then one with each damage."""
    names = list(ARCHITECTURES)
    path = folder / f"{i:04d}" / "model"
    if i < len(names):
        build(names[i], path)
        return FolderInput(names[i], path, data, ARCHITECTURES[names[i]][1])
    n = i - len(names)
    damage = list(DAMAGE)[n % len(DAMAGE)]
    architecture = COPIED[(n + n // len(DAMAGE)) % len(COPIED)]
    shutil.copytree(folder / "whole" / architecture, path)
    change, expected = DAMAGE[damage]
    changed = change(path)
    given = changed if isinstance(changed, Path) else path
    return FolderInput(f"{architecture}: {damage}", given, data, expected)


def inputs(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[FolderInput]:
    """Write the folders with these numbers; nothing is random."""
    shipped(folder)
    for architecture in COPIED:
        build(architecture, folder / "whole" / architecture)
    for i in numbers:
        yield make(folder, i, folder / "good.jsonl")


def judge(one: FolderInput) -> Outcome:
    """Ask for a study with this folder."""
    with front_door.project():
        named = ["model:", str(one.path)]
        outcome = front_door.ask(one.data, one.path, "exact_match", named, one.expected)
    return verdict(outcome, one.expected)


def learn(one: FolderInput) -> Outcome:
    """Build, train and evaluate a model that was accepted."""
    with front_door.project():
        front_door.ask(one.data, one.path, "exact_match")
        try:
            return learn_study(front_door.written_study())
        except UserError as error:
            if one.name.endswith(SEEN_LATE):
                return refusal(f"error: {error}", [str(one.path)], None)
            raise
