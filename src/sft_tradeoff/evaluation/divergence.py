"""How far a model is from θ0: KL(θ0‖θ) on domain prompts, and on texts sampled from θ0.

Both distributions are whole, over V tokens, and computed in float32 from the weights as trained;
their logarithms and sums in float64, because the KL of a small learning rate is below float32's
rounding errors of a log-softmax.

Shapes: N positions, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sft_tradeoff.analysis.tables import KL, TEXT_CHANGE, TEXT_KL
from sft_tradeoff.evaluation.base_states import BaseStates, hidden_states, vocabulary
from sft_tradeoff.evaluation.kl_reference import prompt_facts
from sft_tradeoff.evaluation.sampled_texts import text_facts
from sft_tradeoff.models.head import float_logits
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.two_part import in_float32
from sft_tradeoff.objectives.kl_reg import kl_divergence
from sft_tradeoff.study.names import SAMPLED_TEXTS
from sft_tradeoff.suite.base import Row
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import sha256_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sft_tradeoff.evaluation.evaluate import StateFiles
    from sft_tradeoff.study.runs import EvaluationConfig
    from sft_tradeoff.suite.items import ItemFile

CHUNK = 64  # positions whose float64 distributions are in memory at a time


@dataclass(frozen=True)
class Divergence:
    """What to measure, read and checked.

    Args:
        base_model: Folder of θ0, whose head is needed.
        prompts: Domain label -> θ0's states, and the id of each test example.
        texts: θ0's states on its own texts; None if they are not wanted.
        sha256: Name in the results -> checksum of the file that it is measured on.
    """

    base_model: Path
    prompts: Mapping[str, tuple[BaseStates, Sequence[str]]]
    texts: BaseStates | None
    sha256: Mapping[str, str]


def read_divergence(
    lm: Any,
    config: EvaluationConfig,
    base_model: Path,
    files: StateFiles,
    tests: Sequence[ItemFile],
    tokens: Sequence[Path],
) -> Divergence | None:
    """Read θ0's hidden states and check that they belong to this evaluation.

    Args:
        lm: The model to measure, as lm-eval's model class.
        config: What is evaluated.
        base_model: Folder of θ0.
        files: Where they are.
        tests: Test examples of each of the config's domains.
        tokens: The same tokenized, ``test.npz``.

    Returns:
        None if the study measures no divergence.

    Raises:
        UserError: If a file is missing, damaged, or of another model, data or vocabulary.
    """
    spec = config.divergence
    if spec is None:
        return None
    if bool(spec.sampled_texts) != bool(files.texts) or len(files.prompts) != (
        len(config.domains) if spec.kl_positions else 0
    ):
        raise UserError(
            f"evaluation of {config.run}: divergence.kl_positions is {spec.kl_positions} and "
            f"divergence.sampled_texts {spec.sampled_texts}, but {len(files.prompts)} files of "
            f"'sft-tradeoff kl-reference' and {int(files.texts is not None)} of 'sft-tradeoff "
            "sample-texts' were given; pass one of the former per domain, and one of the latter"
        )
    rows = vocabulary(lm.model)
    prompts = {}
    for domain, test, own, path in zip(config.domains, tests, tokens, files.prompts, strict=False):
        facts = prompt_facts(base_model, rows, own, spec.kl_positions)
        ids = [str(record["id"]) for record in test.items]
        prompts[str(domain.label)] = BaseStates.load(path, facts), ids
    texts, sha256 = None, {}
    if files.texts:
        facts = text_facts(base_model, rows, spec.sampled_texts, spec.sampled_tokens)
        texts = BaseStates.load(files.texts, facts)
        sha256 = {SAMPLED_TEXTS: sha256_of(files.texts)}
    return Divergence(base_model, prompts, texts, sha256)


def divergence_rows(lm: Any, wanted: Divergence | None) -> list[Row]:
    """Measure a model: one row per test example that has positions, and two per sampled text.

    Of a test example the value is ΣKL in nats and the size the number of positions; of a text, bits
    and bytes.
    """
    if wanted is None:
        return []
    model = lm.model
    head = base_head(wanted.base_model).to(model.device)
    rows: list[Row] = []
    for label, (states, ids) in wanted.prompts.items():
        found = compare(model, head, states)
        count = np.bincount(found.text, minlength=len(states.places.name))
        total = np.bincount(found.text, found.kl, len(count))
        rows += [
            (label, ids[int(name)], KL, float(kl), float(n))
            for name, kl, n in zip(states.places.name, total, count, strict=True)
        ]
    if wanted.texts:
        rows += _text_rows(compare(model, head, wanted.texts), wanted.texts)
    return rows


def _text_rows(found: Compared, states: BaseStates) -> list[Row]:
    names, size = states.places.name, states.places.size
    rows: list[Row] = []
    for metric, nats in ((TEXT_CHANGE, found.change), (TEXT_KL, found.kl)):
        bits = np.bincount(found.text, nats, len(names)) / math.log(2)
        rows += [
            (SAMPLED_TEXTS, str(name), metric, float(value), float(n))
            for name, value, n in zip(names, bits, size, strict=True)
        ]
    return rows


class Compared(NamedTuple):
    """A model against θ0, position by position; nats.

    Args:
        text: [N] text of each position.
        kl: [N] KL(θ0‖θ) of the next token.
        change: [N] log p_θ0 − log p_θ of the token that is there; NaN at the end of a text.
    """

    text: np.ndarray
    kl: np.ndarray
    change: np.ndarray


@torch.inference_mode()
def compare(model: PreTrainedModel, base_head: torch.nn.Module, states: BaseStates) -> Compared:
    """Compare a model with θ0 at every position.

    Args:
        model: θ on any device, as loaded for evaluation.
        base_head: θ0's head in float32, on the same device; see :func:`base_head`.
        states: θ0's hidden states.
    """
    places, head = states.places, model.get_output_embeddings()
    ours = hidden_states(model, places)  # (N, H)
    theirs = torch.from_numpy(states.states).to(model.device)  # (N, H)
    ends = places.offsets[places.text + 1]
    following = np.minimum(places.position + 1, ends - 1)
    token = torch.from_numpy(places.ids[following].astype(np.int64)).to(model.device)  # (N,)
    kl, change = [], []
    with in_float32(model):
        parts = zip(ours.split(CHUNK), theirs.split(CHUNK), token.split(CHUNK), strict=True)
        for h, h0, t in parts:
            p = float_logits(model, head(h)).double().log_softmax(-1)  # (CHUNK, V)
            p0 = float_logits(model, base_head(h0)).double().log_softmax(-1)
            kl.append(kl_divergence(p, p0).cpu())
            change.append((p0 - p).gather(1, t[:, None])[:, 0].cpu())
    known = places.position + 1 < ends
    of_token = np.where(known, torch.cat(change).numpy(), math.nan)
    return Compared(places.text, torch.cat(kl).numpy(), of_token)


def base_head(folder: Path) -> torch.nn.Module:
    """Load θ0's head in float32; its body is dropped."""
    head: Any = load_model(folder, "auto").get_output_embeddings()
    found: torch.nn.Module = head.float().requires_grad_(False)
    return found
