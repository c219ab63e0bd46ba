"""θ0's last hidden states at chosen positions of texts, kept in a file.

With θ0's head they give its distribution of the next token exactly. Logits would take V / H times
the space: 256 positions of SmolLM2-135M are 0.6 MB of states and 50 MB of float32 logits.

Everything here computes in float32: rounding to bfloat16 changes the logits by more than a small
learning rate does, and a divergence, unlike a loss, adds up such noise.

Shapes: n texts, ΣT tokens of all, N positions, H hidden size.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.models.folder import read_record
from sft_tradeoff.models.padding import length_batches, padded_width
from sft_tradeoff.models.supported import window
from sft_tradeoff.system.allocator import keep_freed_memory
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import path_with_checksum, verify_checksum

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FORMAT_VERSION = 1  # raise it when an array changes its meaning
BATCH_TOKENS = 2048  # the same for θ0 and every run, so that θ0 against itself is exactly 0


class BaseStatesMismatch(UserError, ValueError):
    """A file of θ0's hidden states cannot be used, or belongs to something else."""


@dataclass(frozen=True)
class Places:
    """Positions in texts, at which the next token is predicted.

    Args:
        ids: [ΣT] int32, the texts' tokens.
        offsets: [n + 1] int64; text i is ``ids[offsets[i]:offsets[i + 1]]``.
        position: [N] int64, increasing indices into ``ids``: up to which token a model reads.
        name: [n] str, of each text.
        size: [n] int64, bytes of each text; of prompts, whose size does not matter, 0.
    """

    ids: np.ndarray
    offsets: np.ndarray
    position: np.ndarray
    name: np.ndarray
    size: np.ndarray

    @classmethod
    def of(
        cls,
        texts: Sequence[tuple[str, Sequence[int], Sequence[int]]],
        size: Sequence[int] | None = None,
    ) -> Places:
        """Join texts.

        Args:
            texts: Name, tokens, and increasing positions within them, of each.
            size: Bytes of each; None: 0.
        """
        offsets = np.cumsum([0, *(len(ids) for _, ids, _ in texts)])
        position = [o + p for o, (*_, own) in zip(offsets[:-1], texts, strict=True) for p in own]
        return cls(
            ids=np.array([i for _, ids, _ in texts for i in ids], dtype=np.int32),
            offsets=offsets,
            position=np.array(position, dtype=np.int64),
            name=np.array([name for name, *_ in texts], dtype=np.str_),
            size=np.array([0] * len(texts) if size is None else size, dtype=np.int64),
        )

    @property
    def text(self) -> np.ndarray:
        """[N] text that each position is in."""
        found: np.ndarray = np.searchsorted(self.offsets, self.position, side="right") - 1
        return found


@dataclass(frozen=True)
class BaseStates:
    """Places with θ0's hidden states there.

    Args:
        places: The places.
        states: [N, H] float32.
        facts: What they were computed from, see :func:`states_facts`.
    """

    places: Places
    states: np.ndarray
    facts: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write one ``.npz`` with its checksum, atomically."""
        with path_with_checksum(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file, facts=json.dumps(dict(self.facts)), states=self.states, **vars(self.places)
            )

    @classmethod
    def load(cls, path: Path, expected: Mapping[str, Any]) -> BaseStates:
        """Read what :meth:`save` wrote, and check what it was computed from.

        Args:
            path: The file.
            expected: :func:`states_facts` of the run.

        Raises:
            DamagedFileError: If it has changed since it was written.
            BaseStatesMismatch: If it is not such a file, or of another model, data or vocabulary.
        """
        verify_checksum(path)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                places = Places(**{name: arrays[name] for name in Places.__dataclass_fields__})
                found = cls(places, arrays["states"], json.loads(str(arrays["facts"])))
        except (ValueError, LookupError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise BaseStatesMismatch(
                f"{path} cannot be read ({error}); delete it and run the same command again"
            ) from error
        for name, value in expected.items():
            if found.facts.get(name) != value:
                raise BaseStatesMismatch(
                    f"{path}: {name} is {found.facts.get(name)}, the run has {value}; delete the "
                    "file and run the same command again"
                )
        return found


def states_facts(base_model: Path, vocabulary: int, **others: Any) -> dict[str, Any]:
    """What hidden states depend on.

    Args:
        base_model: Folder of θ0.
        vocabulary: Rows of its head.
        others: How the texts were chosen, and the checksum of what they were chosen from.
    """
    return {
        "format_version": FORMAT_VERSION,
        "model_sha256": read_record(base_model)["sha256"],
        "vocabulary": vocabulary,
        **others,
    }


def vocabulary(model: PreTrainedModel) -> int:
    """Rows V of a model's head."""
    head: Any = model.get_output_embeddings()
    return int(head.out_features)


def load_base(folder: Path) -> PreTrainedModel:
    """Load θ0 to compute its hidden states, on the GPU if there is one."""
    import torch

    from sft_tradeoff.models.head import check_head
    from sft_tradeoff.models.load import load_model

    keep_freed_memory()
    model = load_model(folder, torch.float32).eval()
    check_head(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def hidden_states(model: PreTrainedModel, places: Places) -> torch.Tensor:
    """A model's last hidden states at the places, computed in float32: [N, H] on its device."""
    import torch

    from sft_tradeoff.models.two_part import in_float32

    lengths = np.diff(places.offsets)
    row_of, column = places.text, places.position - places.offsets[places.text]
    most = window(model.config) or 2**31
    found: list[torch.Tensor] = []
    order: list[np.ndarray] = []
    with torch.inference_mode(), in_float32(model):
        for rows in length_batches(lengths, BATCH_TOKENS):
            longest = int(lengths[rows[0]])
            width = max(longest, min(padded_width(longest), most))
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            for i, row in enumerate(rows):
                own = places.ids[places.offsets[row] : places.offsets[row + 1]]
                ids[i, : len(own)] = torch.from_numpy(own)
            states = model.base_model(
                input_ids=ids.to(model.device), use_cache=False
            ).last_hidden_state  # (B, T, H)
            place = {int(row): i for i, row in enumerate(rows)}
            here = np.flatnonzero(np.isin(row_of, rows))
            batch_row = torch.tensor([place[int(row)] for row in row_of[here]])
            found.append(states[batch_row, torch.from_numpy(column[here])].float())
            order.append(here)
    joined = torch.cat(found)
    back = torch.from_numpy(np.argsort(np.concatenate(order))).to(joined.device)
    return joined[back]
