"""Tokenized examples of one split, and the file that holds them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import path_with_checksum, verify_checksum


class TokenizationError(UserError, ValueError):
    """An example or a file of examples cannot be used for training."""


@dataclass(frozen=True)
class TokenizedExample:
    """One example as token ids.

    Args:
        id: The example's id.
        input_ids: [T] prompt, then response up to and including the end-of-turn token.
        response_mask: [T] True where the token is learned.
        truncated: Whether the response lost its end.
    """

    id: str
    input_ids: list[int]
    response_mask: list[bool]
    truncated: bool


@dataclass(frozen=True)
class TokenizedData:
    """All examples of one split, concatenated.

    Args:
        input_ids: [ΣT] int32.
        response_mask: [ΣT] bool.
        offsets: [n + 1] int64; example i is ``input_ids[offsets[i]:offsets[i + 1]]``.
        truncated: [n] bool, True where the response lost its end.
        cluster: [n] int32, number of the independent unit that the example belongs to.
    """

    input_ids: np.ndarray
    response_mask: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray
    cluster: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """[n] tokens per example."""
        lengths: np.ndarray = np.diff(self.offsets)
        return lengths

    @property
    def n_supervised(self) -> np.ndarray:
        """[n] tokens of each response, including its end of turn."""
        before = np.concatenate([[0], np.cumsum(self.response_mask)])
        n_supervised: np.ndarray = np.diff(before[self.offsets])
        return n_supervised

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(input_ids [T], response_mask [T])`` of one example."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.input_ids[rows], self.response_mask[rows]

    @classmethod
    def from_examples(
        cls, examples: Iterable[TokenizedExample], clusters: Iterable[str] | None = None
    ) -> TokenizedData:
        """Concatenate tokenized examples.

        Args:
            examples: The examples.
            clusters: Name of the independent unit of each; None: each is one.
        """
        examples = list(examples)
        names = list(range(len(examples)) if clusters is None else clusters)
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return cls(
            input_ids=np.array([i for e in examples for i in e.input_ids], dtype=np.int32),
            response_mask=np.array([m for e in examples for m in e.response_mask], dtype=bool),
            offsets=np.cumsum([0, *(len(e.input_ids) for e in examples)]),
            truncated=np.array([e.truncated for e in examples], dtype=bool),
            cluster=np.array(
                [number[name] for _, name in zip(examples, names, strict=True)], dtype=np.int32
            ),
        )

    @classmethod
    def load(cls, path: Path) -> TokenizedData:
        """Read what :meth:`save` wrote.

        Raises:
            DamagedFileError: If it has changed since it was written.
            TokenizationError: If it is not such a file.
        """
        verify_checksum(path)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except (ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise TokenizationError(
                f"{path} cannot be read ({error}); delete it and run the same command again"
            ) from error

    def save(self, path: Path) -> None:
        """Write one uncompressed ``.npz``, atomically."""
        with path_with_checksum(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))
