"""How much of a run's update survives when its weights are rounded to bfloat16, as models ship.

A bfloat16 number has 8 bits, so weights near 0.05 are 2e-4 apart: an update of 1e-6 is either lost
or, where a weight of θ0 is half-way between two numbers, a hundred times too large. Tensors are
read one at a time from both folders, so no second model is in memory.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from sft_tradeoff.models.folder import ModelError, tensor_shapes, weight_files
from sft_tradeoff.models.load import PIECE, load_model, save_weights, stored_tensors
from sft_tradeoff.models.two_part import split_weight

logger = logging.getLogger(__name__)


@contextmanager
def initial_tensors(base_model: Path, trained: Path) -> Iterator[dict[str, Any]]:
    """Open θ0's files: tensor name, as in the trained model, -> the open file that holds it.

    Where names differ (GPT-2 on the hub has others), θ0 is saved again beside the trained model:
    Transformers chooses the names on saving.
    """
    with ExitStack() as files:
        if not tensor_shapes(trained).keys() <= tensor_shapes(base_model).keys():
            folder = tempfile.TemporaryDirectory(dir=trained.parent, prefix=f".{trained.name}-")
            base_model = _renamed(base_model, Path(files.enter_context(folder)))
        found = {}
        for path in weight_files(base_model):
            file = files.enter_context(safe_open(path, framework="pt"))
            found.update(dict.fromkeys(file.keys(), file))
        yield found


def _renamed(base_model: Path, folder: Path) -> Path:
    try:
        save_weights(load_model(base_model, "auto"), folder)
    except ModelError:  # it lacks more than names; whoever needs the tensor says so
        return base_model
    return folder


def rounding_facts(base_model: Path, trained: Path) -> dict[str, float | None]:
    """Compare the update as rounded, and as evaluation sees it, with the true one.

    With the update u = θ - θ0 over all weights and r the same after both are rounded to bfloat16:

    - ``norm_ratio``: ‖r‖ / ‖u‖;
    - ``projection``: ⟨r, u⟩ / ‖u‖², 1 if rounding changes nothing;
    - ``changed_share``: share of the weights that still differ after rounding;
    - ``evaluated_projection``: as ``projection``, for matrices in two bfloat16 parts.

    Args:
        base_model: Folder of θ0.
        trained: Folder of θ.

    Returns:
        These four numbers; without an update, the ratios are None.
    """
    sums = torch.zeros(6, dtype=torch.float64)
    with initial_tensors(base_model, trained) as initial:
        for name, end in stored_tensors(trained):
            if end.is_floating_point():
                sums += _sums(initial[name].get_tensor(name).float(), end.float())
    square, rounded, along, seen, n_changed, n = sums.tolist()
    facts = {
        "norm_ratio": math.sqrt(rounded / square) if square else None,
        "projection": along / square if square else None,
        "changed_share": n_changed / n,
        "evaluated_projection": seen / square if square else None,
    }
    if square:
        logger.info(
            "saved in bfloat16, %.3g %% of the weights would change; the update would have %.3g "
            "times its norm and %.3g times its projection (as evaluated: %.4f)",
            100 * n_changed / n,
            facts["norm_ratio"],
            facts["projection"],
            facts["evaluated_projection"],
        )
    return facts


def _sums(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Sums over one float32 tensor [6]: ‖u‖², ‖r‖², ⟨r, u⟩, ⟨s, u⟩, changed and all weights.

    r is the rounded update, and s the one that evaluation sees. Differences of neighboring numbers
    are exact in float32; pieces are added in float64.
    """
    total = torch.zeros(6, dtype=torch.float64)
    pieces = (tensor.reshape(-1).split(PIECE) for tensor in (start, end))
    for before, after in zip(*pieces, strict=True):
        update = after - before
        then, now = _parts(before), _parts(after)
        rounded = now[0] - then[0]
        seen = now.sum(0) - then.sum(0) if start.ndim > 1 else update
        products = (update @ update, rounded @ rounded, rounded @ update, seen @ update)
        counts = rounded.count_nonzero(), torch.tensor(len(update))
        total += torch.stack([x.double() for x in (*products, *counts)])
    return total


def _parts(weights: torch.Tensor) -> torch.Tensor:
    """Weights [n] as bfloat16 numbers [1 or 2, n] in float32: rounded, and the rest if any."""
    return split_weight(weights[None]).float().view(-1, len(weights))
