"""Estimate how much memory a training run needs, before anything large is loaded.

Parameters, gradients and optimizer state are exact: the model is built without storage and counted.
Activations are an estimate: what Llama-like layers save for the backward pass, which other
architectures resemble.

Measured for 18 runs on a CPU (135 million parameters, 1 to 8 sequences of 128 or 500 tokens, all
precisions, with and without checkpointing, adapters, θ0 in addition to the model), the estimate was
between 9 % below and 20 % above the peak of resident memory, 4 % above in the median; it is highest
where few tokens are supervised. Two runs were measured after layers began to save less: batches of
8 with up to 461 tokens (8 % below) and up to 159 (10 % above). Savings from a shared prefix are not
included.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_tradeoff.models.supported import load_config
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.runs import RunConfig, read_config
from sft_tradeoff.system.console import run_main

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sft_tradeoff.study.spec import EvaluationSpec

GIB = 2**30
BASE = 550 * 2**20  # interpreter, libraries and tokenizer; on a GPU, about the CUDA context
LOGIT_COPIES = 3  # per chunk, [CHUNK, V] float32: log-probabilities and two gradients
PENALTY_COPIES = 2  # more if θ0 runs too: its log-probabilities and a temporary


@dataclass(frozen=True)
class ModelSize:
    """Parameter counts of a model, tied weights once.

    Args:
        total: All parameters, adapters included.
        trained: Those that require gradients.
        largest: The largest trained tensor.
        layer: The largest decoder layer.
        outside: Parameters outside the layers (embeddings, head, final norm).
        lean: Parts of a layer that save less on a CPU (:func:`lean_parts`).
        adapted: Share of θ0's weights in layers with an adapter; 1 without adapters.
    """

    total: int
    trained: int
    largest: int
    layer: int
    outside: int
    lean: frozenset[str]
    adapted: float = 1.0


def model_size(architecture: PretrainedConfig, adapter: dict[str, Any] | None = None) -> ModelSize:
    """Count parameters without loading any: the model is built on torch's meta device.

    Args:
        architecture: Transformers configuration of θ0.
        adapter: Keywords of the method's adapters (:attr:`Method.adapter`), if it trains any.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from sft_tradeoff.models.adapters import adapted_share, inject
    from sft_tradeoff.training.lean_layers import lean_parts

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
        if adapter:
            inject(model, adapter)
    layers: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.\d+\.", name)
        layers[layer.group() if layer else ""] += parameter.numel()
    outside = layers.pop("", 0)
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    return ModelSize(
        total=outside + layers.total(),
        trained=sum(trained),
        largest=max(trained),
        layer=max(layers.values(), default=0),
        outside=outside,
        lean=lean_parts(model),
        adapted=adapted_share(model) if adapter else 1.0,
    )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that one process needs at the peak of training.

    The parts are simply added. Gradients grow while activations shrink, and both are gone when
    adapters are merged, but the allocator rarely reuses the memory of one for the other.

    Args:
        n_parameters: Parameters of the model, adapters included.
        n_trained: Those that are trained.
        weights: What the optimizer updates, and frozen weights without a copy.
        compute_copy: bfloat16 copy that computes; if sharded, the layers gathered at one time.
        gradients: In the dtype of the updated weights, and those that briefly exist twice.
        optimizer: AdamW's two moments.
        reference: θ0 or its weights, for methods that compare the model with them.
        activations: Saved for the backward pass of one micro-batch.
        logits: Of one chunk of supervised tokens.
        base: Interpreter and libraries.
        scoring: The model that scores an epoch, and its cache: what of it exceeds gradients,
            activations and logits, which do not exist meanwhile.
        loading: θ0 in float32, for adapters only: on a CPU it is read again to merge them into it;
            on a GPU it is there before its cast, which may take more than all of training.
    """

    n_parameters: int
    n_trained: int
    weights: int
    compute_copy: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int
    base: int
    scoring: int = 0
    loading: int = 0

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part, without empty ones, largest first."""
        counts = ("n_parameters", "n_trained")
        parts = {name: size for name, size in vars(self).items() if name not in counts and size}
        return dict(sorted(parts.items(), key=lambda part: -part[1]))

    def __str__(self) -> str:
        """Return a table for the log."""
        trained = f"{self.n_trained / 1e6:.1f} M of {self.n_parameters / 1e6:.1f} M"
        rows = [f"memory per process (estimate; {trained} parameters are trained)"]
        for name, size in [*self.parts.items(), ("at the peak", self.total)]:
            rows.append(f"  {name.replace('_', ' '):<14}{gib(size):>11}")
        return "\n".join(rows)


def gib(size: int) -> str:
    """Format bytes as GiB."""
    return f"{size / GIB:.2f} GiB"


def layer_bytes_per_token(
    text: PretrainedConfig, item_bytes: int, lean: frozenset[str] = frozenset()
) -> int:
    """Bytes that one decoder layer saves per token for its backward pass.

    Counted operation by operation, exact for a Llama layer with hidden size H, total widths A of
    the query heads and K of the key heads, feed-forward size I and s bytes per item:

    * two norms, each its input (sH), its output (sH, the input of the next product) and the inverse
      root (4); if not lean, the input in float32 (4H) and the normalized value;
    * attention: query and output (sA each), key and value (sK each) and the log-sum-exp of every
      head (4); a fused kernel saves nothing of size T²;
    * feed-forward: gate and up (sI each), per active expert; if not lean, activated gate and
      product too.

    Args:
        text: Transformers configuration of the decoder.
        item_bytes: Bytes per item of the compute dtype, s.
        lean: See :class:`ModelSize`.
    """
    hidden, n_heads = text.hidden_size, text.num_attention_heads
    head, n_key_heads = _heads(text)
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    if n_experts := getattr(text, "num_experts_per_tok", None):
        inner = n_experts * (getattr(text, "moe_intermediate_size", None) or inner)
    kept_by_norm = 2 * item_bytes if "norm" in lean else 4 + 2 * item_bytes
    kept_by_feed_forward = (2 if "feed_forward" in lean else 4) * item_bytes
    attention = 2 * item_bytes * head * (n_heads + n_key_heads) + 4 * n_heads
    return int(2 * (hidden * kept_by_norm + 4) + attention + kept_by_feed_forward * inner)


def activation_bytes(
    text: PretrainedConfig,
    n_tokens: int,
    item_bytes: int,
    checkpointing: bool,
    lean: frozenset[str] = frozenset(),
) -> int:
    """Bytes of the activations of one micro-batch.

    Without checkpointing every layer saves its activations, and the gradients of one layer come on
    top. With it every layer saves its input only; one layer's activations are computed again, and
    their gradients.

    Args:
        text: Transformers configuration of the decoder.
        n_tokens: Tokens of the padded micro-batch, B·T.
        item_bytes: Bytes per item of the compute dtype.
        checkpointing: Whether layers are recomputed in the backward pass.
        lean: See :class:`ModelSize`.
    """
    layer, n_layers = layer_bytes_per_token(text, item_bytes, lean), text.num_hidden_layers
    kept = n_layers * text.hidden_size * item_bytes + layer if checkpointing else n_layers * layer
    return int(n_tokens * (kept + layer))


def scoring_bytes(text: PretrainedConfig, n_parameters: int, spec: EvaluationSpec) -> int:
    """Bytes of a model that scores, and of the keys and values of a batch of ``batch_tokens``.

    Args:
        text: Transformers configuration of the decoder.
        n_parameters: Of the whole model; 4 bytes each, in float32 as well as in two bfloat16 parts.
        spec: How it is asked.
    """
    head, n_key_heads = _heads(text)
    item_bytes = 4 if spec.dtype == "float32" else 2
    cache = 2 * item_bytes * text.num_hidden_layers * n_key_heads * head
    return int(4 * n_parameters + cache * spec.batch_tokens)


def _heads(text: PretrainedConfig) -> tuple[int, int]:
    """Width of a head, and number of key heads."""
    n_heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // n_heads
    return head, getattr(text, "num_key_value_heads", None) or n_heads


def estimate(
    model: Path | PretrainedConfig,
    config: RunConfig,
    longest: int,
    n_shards: int = 1,
    on_gpu: bool = False,
) -> MemoryEstimate:
    """Estimate the memory of a training run, per process.

    Args:
        model: Folder of θ0 (only its ``config.json`` is read), or its Transformers configuration.
        config: The resolved run.
        longest: Tokens of the longest example, all taken as supervised.
        n_shards: Processes over which parameters, gradients and optimizer are split.
        on_gpu: Whether this is the memory of a GPU.

    Raises:
        ModelError: If Transformers does not know the model.
    """
    from sft_tradeoff.training.token_loss import CHUNK

    architecture = load_config(model) if isinstance(model, Path) else model
    text, training = architecture.get_text_config(), config.training
    method = METHODS[config.method.name]
    options = method.options(**config.method.options)
    size = model_size(architecture, method.adapter(options) if method.adapter else None)
    compute = 4 if training.compute_type == "float32" else 2
    master = 2 if training.precision == "bf16_pure" else 4
    copied = training.precision == "fp32_master"
    # The embedding's gradient is summed over its uses before it moves to the master: two exist.
    moving = 2 * compute * size.largest
    n_sequences = min(training.micro_batch_size, -(-training.batch_size // n_shards))
    n_copies = LOGIT_COPIES + PENALTY_COPIES * bool(method.penalty)
    lean = frozenset[str]() if on_gpu else size.lean
    found = MemoryEstimate(
        n_parameters=size.total,
        n_trained=size.trained,
        weights=master * (size.trained if copied else size.total),
        compute_copy=compute * size.total * copied,
        gradients=master * size.trained + moving,
        optimizer=2 * master * size.trained,
        reference=compute * size.total * bool(method.penalty)
        + master * size.trained * bool(method.parameter_penalty),
        activations=activation_bytes(
            text, n_sequences * longest, compute, training.gradient_checkpointing, lean
        ),
        logits=4 * n_copies * min(CHUNK, n_sequences * longest) * text.vocab_size,
        base=BASE,
    )
    if n_shards > 1:
        found = _split(found, size, n_shards, compute, master)
    if config.validation:
        scoring = scoring_bytes(text, size.total, config.validation.evaluation)
        free = found.gradients + found.activations + found.logits
        found = replace(found, scoring=max(0, scoring - free))
    if method.adapter:
        again = 4 * (size.total - size.trained)
        found = replace(found, loading=max(0, again + BASE - found.total) if on_gpu else again)
    return found


def _split(
    whole: MemoryEstimate, size: ModelSize, n_shards: int, compute: int, master: int
) -> MemoryEstimate:
    """Split over processes: the weights of the next layer are gathered while one computes."""
    gathered = compute * (size.outside + 2 * size.layer)
    return replace(
        whole,
        weights=whole.weights // n_shards,
        compute_copy=gathered,
        gradients=master * size.trained // n_shards + gathered,
        optimizer=whole.optimizer // n_shards,
        reference=whole.reference // n_shards,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sft-tradeoff memory``."""
    parser.add_argument(
        "--config",
        required=True,
        help="resolved configuration of the run: JSON, or a JSON file, e.g. the object "
        "run_info.config of a train.json",
    )
    parser.add_argument("--base-model", type=Path, required=True, help="folder of θ0")
    parser.add_argument("--data", type=Path, required=True, help="tokenized training split, .npz")
    parser.add_argument(
        "--shards", type=int, default=1, help="processes that share the model (default: 1)"
    )


def main(args: argparse.Namespace) -> None:
    """Print the memory that a run needs, per process."""
    config = read_config(RunConfig, args.config)
    with run_main(f"memory {config.run}"):
        longest = int(TokenizedData.load(args.data).lengths.max())
        print(estimate(args.base_model, config, longest, args.shards))
