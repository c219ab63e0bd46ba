"""Chat template and response mask: which tokens are learned.

The prompt is rendered exactly as at generation time and tokenised on its own; what the template
renders after it is the response. So the mask is exact by construction, and training sees the same
prompt tokens as evaluation.
"""

from __future__ import annotations

import argparse
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.files import check_seal, sealed_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class TokenizationError(UserError, ValueError):
    """An example cannot be tokenised so that some of its response is learned."""


@dataclass(frozen=True)
class TokenizedExample:
    """One example as token ids.

    Args:
        id: The example's id.
        input_ids: [T] prompt, then response up to and including the end-of-turn token.
        response_mask: [T] True where the token is learned.
        truncated: Whether the end of the response did not fit.
    """

    id: str
    input_ids: list[int]
    response_mask: list[bool]
    truncated: bool


def tokenize_example(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], max_length: int
) -> TokenizedExample:
    """Tokenise one JSONL record.

    An example that is too long loses the *end* of its response; the prompt is never cut, because
    an answer to half a question teaches something else.

    Args:
        tokenizer: With a chat template.
        record: With ``id``, ``prompt`` and ``response``.
        max_length: Largest number of tokens.

    Raises:
        TokenizationError: If no response token fits, or the template does not render the
            conversation as prompt followed by response.
    """
    head = render_prompt(tokenizer, record["prompt"])
    full = _render(tokenizer, [_user(record["prompt"]), _assistant(record["response"])])
    if not full.startswith(head):
        raise TokenizationError(
            f"{_name(record)}: the chat template does not render the conversation as "
            "prompt + response; set 'chat_template' in the model's catalogue entry"
        )
    prompt_ids = encode_rendered(tokenizer, head)
    response_ids = _until_end_of_turn(tokenizer, full[len(head) :], record)
    room = max_length - len(prompt_ids)
    if room < 1:
        raise TokenizationError(
            f"{_name(record)}: the prompt has {len(prompt_ids)} tokens and leaves no room for a "
            f"response within training.max_length {max_length}; shorten it or leave it out, or "
            "raise training.max_length and evaluation.max_length in the study file"
        )
    kept = response_ids[:room]
    return TokenizedExample(
        id=record["id"],
        input_ids=prompt_ids + kept,
        response_mask=[False] * len(prompt_ids) + [True] * len(kept),
        truncated=len(kept) < len(response_ids),
    )


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Text of a user message as the model sees it before it answers."""
    return _render(tokenizer, [_user(prompt)], add_generation_prompt=True)


def encode_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a chat template rendered, in training and evaluation alike.

    The template writes the special tokens that it wants; a BOS that the tokenizer would add before
    others is not among them.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _name(record: dict[str, Any]) -> str:
    """An example as the user can find it: one of a file of theirs by its line."""
    line = record.get("meta", {}).get("line")
    return f"example {record['id']!r}" + (f" (line {line} of your data file)" if line else "")


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    add_generation_prompt: bool = False,
) -> str:
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    return str(text)


def _until_end_of_turn(
    tokenizer: PreTrainedTokenizerBase, text: str, record: dict[str, Any]
) -> list[int]:
    """Token ids of the response and its end-of-turn token, without the template's trailing text.

    The end of turn is the first special token behind the response's own words; a template that
    has none gets the tokenizer's EOS, so that the model learns to stop.
    """
    content = record["response"].strip()
    start = text.find(content)
    if not content or start < 0:
        raise TokenizationError(
            f"{_name(record)}: response {record['response'][:40]!r} does not appear in "
            "what the chat template renders; an empty or rewritten response cannot be learned"
        )
    end = start + len(content)
    ids = encode_rendered(tokenizer, text[:end])
    tail = encode_rendered(tokenizer, text[end:])
    special = set(tokenizer.all_special_ids)
    for position, token in enumerate(tail):
        if token in special:
            return ids + tail[: position + 1]
    return [*ids, tokenizer.eos_token_id]


@dataclass(frozen=True)
class TokenizedData:
    """All examples of one split, concatenated.

    Args:
        input_ids: [ΣT] int32.
        response_mask: [ΣT] bool.
        offsets: [n + 1] int64; example i is ``input_ids[offsets[i]:offsets[i + 1]]``.
    """

    input_ids: np.ndarray
    response_mask: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """[n] tokens per example."""
        lengths: np.ndarray = np.diff(self.offsets)
        return lengths

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(input_ids [T], response_mask [T])`` of one example."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.input_ids[rows], self.response_mask[rows]

    @classmethod
    def from_examples(cls, examples: Iterable[TokenizedExample]) -> TokenizedData:
        """Concatenate tokenised examples."""
        examples = list(examples)
        return cls(
            input_ids=np.array([i for e in examples for i in e.input_ids], dtype=np.int32),
            response_mask=np.array([m for e in examples for m in e.response_mask], dtype=bool),
            offsets=np.cumsum([0, *(len(e.input_ids) for e in examples)]),
        )

    @classmethod
    def load(cls, path: Path) -> TokenizedData:
        """Read what :meth:`save` wrote.

        Raises:
            DamagedFileError: If it is not as it was written.
            TokenizationError: If it is something else.
        """
        check_seal(path)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except (ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise TokenizationError(
                f"{path} cannot be read ({error}); delete it and run the same command again"
            ) from error

    def save(self, path: Path) -> None:
        """Write one uncompressed ``.npz``, atomically."""
        with sealed_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def tokenize_file(tokenizer: PreTrainedTokenizerBase, path: Path, max_length: int) -> TokenizedData:
    """Tokenise one split and log how many responses were cut."""
    check_seal(path)
    examples = [tokenize_example(tokenizer, r, max_length) for r in read_jsonl(path)]
    truncated = sum(e.truncated for e in examples)
    if truncated:
        logger.warning(
            "%s: %d of %d responses cut at %d tokens; raise training.max_length to keep them whole",
            path.name, truncated, len(examples), max_length,
        )  # fmt: skip
    return TokenizedData.from_examples(examples)


def main() -> None:
    """Tokenise one split of a domain for one model."""
    from sft_tradeoff.models import load_tokenizer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="JSONL with prompt and response")
    parser.add_argument("--max-length", type=int, required=True, help="tokens per example")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    args = parser.parse_args()
    with run_main(__name__):
        tokenizer = load_tokenizer(args.model)
        tokenize_file(tokenizer, args.data, args.max_length).save(args.out)


if __name__ == "__main__":
    main()
