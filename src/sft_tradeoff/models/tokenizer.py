"""The chat of a model folder: its tokenizer and template, and what ends an answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sft_tradeoff.chat import (
    FIXED_DATE,
    ChatTemplateError,
    chat_format,
    control_tokens,
    render_turns,
    with_variables,
    without_clock,
)
from sft_tradeoff.models.folder import ModelError, check_small_files
from sft_tradeoff.system.files import atomic_write_json

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
TEMPLATE_NAME = "chat_template.jinja"
SETTINGS_NAME = "generation_config.json"
# Letters, marks, digits and white space that families of tokenizers cut otherwise.
PROBE = "a It's 12345 o'clock:  naïve cafe\u0301, x² (a_b) ΑΒΓ 你好\n\n\tIF 2024-01-02 != 3.14!!\n"
BEGINNING = 2  # tokens: "a", and what stands before it
SENTENCEPIECE = b"\n"  # first byte of its files: a list of pieces, as protobuf tags it


def load_tokenizer(
    path: str | Path, variables: Mapping[str, bool | int | str] = MappingProxyType({})
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder, with a chat template and a pad token.

    Without a pad token the end-of-sequence token pads; masks tell the two apart. The padding side
    stays as the model gives it. Of several templates the default one counts, and one that writes
    today's date gets a fixed one.

    Args:
        path: The folder.
        variables: Values of the template's variables, by name.

    Raises:
        ModelError: If there is no usable tokenizer, chat template or end-of-sequence token, the
            template does not render a conversation as prompt and answer, or a file is not as it
            was written.
    """
    tokenizer = _load(path)
    try:
        tokenizer.chat_template = with_variables(without_clock(tokenizer.chat_template), variables)
        end = str(tokenizer.convert_ids_to_tokens(chat_format(tokenizer).end_of_turn))
    except ChatTemplateError as error:
        raise ModelError(f"{path}: {error}") from error
    if end not in control_tokens(tokenizer):  # else it would be part of what was answered
        tokenizer.add_special_tokens({"additional_special_tokens": [end]}, False)
    return tokenizer


def settle_chat(folder: Path, variables: Mapping[str, bool | int | str]) -> dict[str, Any]:
    """Write into a model's folder what its chats are: variables, date and end of turn.

    Every reader of the folder then renders the same, and stops where training ends an answer.

    Args:
        folder: A model folder of our own, which is changed.
        variables: Values of the template's variables, by name.

    Returns:
        The facts, for ``MODEL.json``.

    Raises:
        ModelError: If the template cannot be used.
    """
    own = _load(folder).chat_template
    tokenizer = load_tokenizer(folder, variables)
    if tokenizer.chat_template != own:
        (folder / TEMPLATE_NAME).write_text(tokenizer.chat_template, encoding="utf-8")
    _refuse_tokens_without_row(tokenizer, folder)
    chat = chat_format(tokenizer)
    _name_end_of_turn(folder, chat.end_of_turn)
    return {
        "header": chat.header,
        "end_of_turn": tokenizer.convert_ids_to_tokens(chat.end_of_turn),
        "date": None if without_clock(own) == own else FIXED_DATE.isoformat(),
    }


def end_tokens(settings: GenerationConfig) -> set[int]:
    """Tokens that end a generation by these settings."""
    ends = settings.eos_token_id
    return set(ends if isinstance(ends, list) else [] if ends is None else [ends])


def generation_ends(folder: Path) -> set[int]:
    """Tokens that end a generation by the settings of a model folder."""
    return end_tokens(_settings(folder))


def _load(path: str | Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    check_small_files(Path(path))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # from the folder's own values, anywhere in Transformers
        reason = _only_sentencepiece(Path(path)) or error
        raise ModelError(f"{path}: Transformers cannot load its tokenizer: {reason}") from error
    tokenizer = _as_written(tokenizer, Path(path))
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not tokenizer.chat_template:
        raise ModelError(
            f"{path}: the tokenizer has no chat template; set 'chat_template' (Jinja) in the "
            "model's catalogue entry"
        )
    if tokenizer.eos_token is None:
        raise ModelError(
            f"{path}: the tokenizer has no end-of-sequence token; add 'eos_token' to its "
            "tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _as_written(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """Return a tokenizer that encodes as ``tokenizer.json`` says.

    For some architectures Transformers takes the vocabulary alone from there, and cuts texts as the
    family's first models do: for Qwen2's every digit by itself, whatever the model has learned.
    """
    from tokenizers import Tokenizer
    from transformers import TokenizersBackend

    file = folder / "tokenizer.json"
    if type(tokenizer) is TokenizersBackend or not file.is_file():
        return tokenizer
    written = Tokenizer.from_file(str(file))
    written.no_truncation()
    written.no_padding()
    expected = written.encode(PROBE, add_special_tokens=False).ids
    try:
        found = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    except Exception:  # tokenizers' own: the class asks for tokens that the file does not have
        found = []
    # How a text begins is a setting beside the file (add_prefix_space): the rest must be the same.
    n_same = len(os.path.commonprefix([found[::-1], expected[::-1]]))  # noqa: RUF071
    if max(len(found), len(expected)) - n_same <= BEGINNING:
        return tokenizer
    logger.warning(
        "warning: %s: Transformers would read tokenizer.json as a %s, which cuts texts into other "
        "tokens; it is used as it is written, and TokenizersBackend.from_pretrained loads it so",
        folder, type(tokenizer).__name__,
    )  # fmt: skip
    plain: PreTrainedTokenizerBase = TokenizersBackend.from_pretrained(
        folder, local_files_only=True
    )
    return plain


def _refuse_tokens_without_row(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a tokenizer with more tokens than the model, unless no chat has one of them."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    n_rows = config.get_text_config().vocab_size
    turns = render_turns(tokenizer, {"prompt": "a", "response": "a"})
    written = tokenizer(turns.prompt + turns.response, add_special_tokens=False)["input_ids"]
    added = tokenizer.added_tokens_decoder.keys()
    words = (i for i in tokenizer.get_vocab().values() if i not in added)
    used = {*words, *written, chat_format(tokenizer).end_of_turn, tokenizer.pad_token_id}
    beyond = sorted(token for token in used if token >= n_rows)
    if beyond:
        raise ModelError(
            f"{folder}: the model has rows for {n_rows} tokens, and "
            f"{tokenizer.convert_ids_to_tokens(beyond[0])!r} is number {beyond[0]} (counted from "
            "0) of the tokenizer: use the tokenizer that belongs to these weights, or "
            "model.resize_token_embeddings(len(tokenizer)) and save_pretrained; a pad_token can be "
            "any token that the model has"
        )


def _only_sentencepiece(folder: Path) -> str | None:
    """What to do where Transformers asks for tiktoken, which could not read the file either."""
    for path in [] if (folder / "tokenizer.json").is_file() else folder.glob("*.model"):
        with open(path, "rb") as file:
            if file.read(1) == SENTENCEPIECE:
                return (
                    f"{path.name} is SentencePiece's, and there is no tokenizer.json; 'pip install "
                    "sentencepiece protobuf' (both), or put a tokenizer.json into the folder: "
                    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it where "
                    "both are installed"
                )
    return None


def _name_end_of_turn(folder: Path, token: int) -> None:
    """Add the end of turn to what ends a generation by the folder's own settings."""
    settings = _settings(folder)
    ends = end_tokens(settings)
    if token not in ends:
        settings.eos_token_id = [token, *sorted(ends)]
        atomic_write_json(folder / SETTINGS_NAME, settings.to_diff_dict())


def _settings(folder: Path) -> GenerationConfig:
    from transformers import AutoConfig, GenerationConfig

    if (folder / SETTINGS_NAME).is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return GenerationConfig.from_model_config(config)  # as Transformers does
