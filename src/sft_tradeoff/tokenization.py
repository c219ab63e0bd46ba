"""Chat template and response mask: which tokens are learned.

The prompt is rendered and tokenised exactly as at generation time; what the template renders after
it, up to the end of turn, is the response. So the mask is exact by construction, and training sees
the same prompt tokens as evaluation.
"""

from __future__ import annotations

import argparse
import json
import logging
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sft_tradeoff.chat import (
    ChatTemplateError,
    Turns,
    chat_format,
    control_token_pattern,
    render_turns,
    where_they_part,
)
from sft_tradeoff.chat import render_prompt as render_prompt
from sft_tradeoff.console import UserError, run_main
from sft_tradeoff.files import atomic_write_text, check_seal, sealed_path

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
        record: With ``id``, ``prompt`` and ``response``, and ``system`` if it has a system turn.
        max_length: Largest number of tokens.

    Raises:
        TokenizationError: If no response token fits, a turn contains a control token, or the
            template does not render the conversation as prompt followed by response.
    """
    if not record["response"].strip():
        raise TokenizationError(
            f"{example_name(record)}: the response is empty; nothing can be learned"
        )
    try:
        turns = render_turns(tokenizer, record)
        end = chat_format(tokenizer)
    except ChatTemplateError as error:
        raise TokenizationError(f"{example_name(record)}: {error}") from error
    _refuse_control_tokens(tokenizer, record)
    prompt_ids = encode_rendered(tokenizer, turns.prompt)
    response_ids = _continuation(tokenizer, turns, prompt_ids)
    _refuse_lost_text(tokenizer, record, turns, prompt_ids + response_ids)
    if not end.end_text:  # the model must learn to stop all the same
        response_ids.append(end.end_of_turn)
    room = max_length - len(prompt_ids)
    if room < 1:
        raise TokenizationError(
            f"{example_name(record)}: the prompt has {len(prompt_ids)} tokens and leaves no room "
            f"for a response within training.max_length {max_length}; shorten it or leave it out, "
            "or raise training.max_length and evaluation.max_length in the study file"
        )
    kept = response_ids[:room]
    return TokenizedExample(
        id=record["id"],
        input_ids=prompt_ids + kept,
        response_mask=[False] * len(prompt_ids) + [True] * len(kept),
        truncated=len(kept) < len(response_ids),
    )


def encode_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a chat template rendered, in training and evaluation alike.

    The template writes the special tokens that it wants; a BOS that the tokenizer would add before
    others is not among them.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def example_name(record: Mapping[str, Any]) -> str:
    """An example as the user can find it: one of a file of theirs by its line."""
    line = record.get("meta", {}).get("line")
    return f"example {record['id']!r}" + (f" (line {line} of your data file)" if line else "")


def _refuse_control_tokens(tokenizer: PreTrainedTokenizerBase, record: dict[str, Any]) -> None:
    """A prompt could end the user's turn, and an answer with an end of its own is never right."""
    for key in ("system", "prompt", "response"):
        found = control_token_pattern(tokenizer).search(record.get(key) or "")
        if found is not None:
            raise TokenizationError(
                f"{example_name(record)}: the {key} contains {found[0]!r}, a control token of this "
                "model; remove it (the chat template writes what begins and ends a turn)"
            )


def _refuse_lost_text(
    tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], turns: Turns, ids: list[int]
) -> None:
    """Refuse text that the tokens do not hold: without bytes, what is unknown is <unk> or lost."""
    if _letters(str(tokenizer.decode(ids))) == _letters(turns.prompt + turns.response):
        return
    for key in ("system", "prompt", "response"):
        text = record.get(key) or ""
        read = str(tokenizer.decode(encode_rendered(tokenizer, text)))
        if _letters(read) != _letters(text):
            wanted, found = where_they_part(_letters(text), _letters(read))
            raise TokenizationError(
                f"{example_name(record)}: the model's tokenizer does not know all of the {key}: "
                f"{wanted!r} becomes {found!r}; change or remove it, or use another model"
            )


def _letters(text: str) -> str:
    """A text without what tokenizers may well change: white space, case and normal form."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _continuation(
    tokenizer: PreTrainedTokenizerBase, turns: Turns, prompt_ids: list[int]
) -> list[int]:
    """Tokens of the response as they stand in the whole conversation.

    Alone it could begin otherwise (a word of SentencePiece with a space). Only where a token would
    span both is it encoded alone: a prompt has the same tokens whatever follows.
    """
    whole = encode_rendered(tokenizer, turns.prompt + turns.response)
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    return encode_rendered(tokenizer, turns.response)


@dataclass(frozen=True)
class TokenizedData:
    """All examples of one split, concatenated.

    Args:
        input_ids: [ΣT] int32.
        response_mask: [ΣT] bool.
        offsets: [n + 1] int64; example i is ``input_ids[offsets[i]:offsets[i + 1]]``.
        truncated: [n] bool, True where the end of the response did not fit.
    """

    input_ids: np.ndarray
    response_mask: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """[n] tokens per example."""
        lengths: np.ndarray = np.diff(self.offsets)
        return lengths

    @property
    def n_supervised(self) -> np.ndarray:
        """[n] tokens of each response, its end of turn included."""
        before = np.concatenate([[0], np.cumsum(self.response_mask)])
        n_supervised: np.ndarray = np.diff(before[self.offsets])
        return n_supervised

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
            truncated=np.array([e.truncated for e in examples], dtype=bool),
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
    from sft_tradeoff.domains import get_domain
    from sft_tradeoff.model_chat import generation_ends, load_tokenizer
    from sft_tradeoff.proof import prove
    from sft_tradeoff.token_card import token_card

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--domain", required=True, help="name of the domain that grades answers")
    parser.add_argument("--data", type=Path, required=True, help="JSONL with prompt and response")
    parser.add_argument("--max-length", type=int, required=True, help="tokens per example")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write, and a card beside")
    args = parser.parse_args()
    with run_main(__name__):
        tokenizer = load_tokenizer(args.model)
        data = tokenize_file(tokenizer, args.data, args.max_length)
        score = get_domain(args.domain).score
        prove(tokenizer, generation_ends(args.model), data, read_jsonl(args.data), score)
        title = f"{args.model.name}, {args.data.parent.name}, {args.data.stem}"
        atomic_write_text(args.out.with_suffix(".md"), token_card(data, title, args.max_length))
        data.save(args.out)


if __name__ == "__main__":
    main()
