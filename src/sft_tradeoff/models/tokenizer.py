"""The tokenizer of a model folder: chat template, pad token, and the tokens that end an answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sft_tradeoff.chat import ChatTemplateError, chat_format, control_tokens, markup
from sft_tradeoff.models.folder import (
    ModelError,
    check_small_files,
    read_object,
    reason,
    refuse_deleted,
)
from sft_tradeoff.models.supported import load_config
from sft_tradeoff.models.tokenizer_template import (
    FIXED_DATE,
    TEMPLATE_NAME,
    template_fix,
    template_place,
    with_variables,
    without_clock,
)
from sft_tradeoff.system.files import atomic_write_json

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
SETTINGS_NAME = "generation_config.json"
# Letters, marks, digits and white space that families of tokenizers split differently.
PROBE = "a It's 12345 o'clock:  naïve cafe\u0301, x² (a_b) ΑΒΓ 你好\n\n\tIF 2024-01-02 != 3.14!!\n"
N_FIRST = 2  # tokens: "a", and a prefix that the tokenizer may add
_VOCABULARIES = (".model", ".tiktoken", ".spm")  # beside tokenizer.json and vocab.*
SENTENCEPIECE = b"\n"  # first byte of its files: protobuf's tag of a list of pieces


def load_tokenizer(
    path: str | Path,
    variables: Mapping[str, bool | int | str] = MappingProxyType({}),
    place: str | None = None,
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder, with a chat template and a pad token.

    If there is no pad token, the end-of-sequence token is used; masks tell the two apart. The
    padding side stays the model's. Of several templates the default one is used, and a template
    that writes today's date gets a fixed date.

    Args:
        path: The folder.
        variables: Values of the template's variables, by name.
        place: Where the user can correct the template; default: as the folder's record says.

    Raises:
        ModelError: If there is no usable tokenizer, chat template or end-of-sequence token, the
            template does not render a conversation as prompt and answer, or a file has changed
            since it was written.
    """
    place = place or template_place(Path(path))
    tokenizer = _load(path, place)
    try:
        tokenizer.chat_template = with_variables(without_clock(tokenizer.chat_template), variables)
        end = str(tokenizer.convert_ids_to_tokens(chat_format(tokenizer).end_of_turn))
    except ChatTemplateError as error:
        raise ModelError(f"{path}: {error}; {template_fix(place)}") from error
    if end not in control_tokens(tokenizer):  # otherwise it would count as part of the answer
        tokenizer.add_special_tokens({"additional_special_tokens": [end]}, False)
    return tokenizer


def check_chat(
    folder: Path,
    variables: Mapping[str, bool | int | str] = MappingProxyType({}),
    place: str | None = None,
) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer, render and tokenize an example, and compare tokens with rows.

    Args:
        folder: A model folder.
        variables: Values of the template's variables, by name.
        place: As for :func:`load_tokenizer`.

    Raises:
        ModelError: As :func:`load_tokenizer`, or if a token has no embedding.
    """
    tokenizer = load_tokenizer(folder, variables, place)
    _refuse_tokens_without_row(tokenizer, folder)
    return tokenizer


def settle_chat(
    folder: Path, variables: Mapping[str, bool | int | str], place: str
) -> dict[str, Any]:
    """Fix a model folder's chat format in its files: template variables, date and end of turn.

    Everyone who loads the folder then renders the same text and stops generation where training
    ends an answer.

    Args:
        folder: A model folder that was built here; it is changed.
        variables: Values of the template's variables, by name.
        place: Where the user can correct the template.

    Returns:
        The facts, for ``MODEL.json``.

    Raises:
        ModelError: If the template cannot be used.
    """
    own = _load(folder, place).chat_template
    tokenizer = check_chat(folder, variables, place)
    if tokenizer.chat_template != own:
        (folder / TEMPLATE_NAME).write_text(tokenizer.chat_template, encoding="utf-8")
    chat = chat_format(tokenizer)
    _name_end_of_turn(folder, chat.end_of_turn)
    return {
        "header": chat.header,
        "end_of_turn": tokenizer.convert_ids_to_tokens(chat.end_of_turn),
        "date": None if without_clock(own) == own else FIXED_DATE.isoformat(),
    }


def end_tokens(settings: GenerationConfig) -> set[int]:
    """Tokens that end a generation according to these settings."""
    ends = settings.eos_token_id
    return set(ends if isinstance(ends, list) else [] if ends is None else [ends])


def generation_ends(folder: Path) -> set[int]:
    """Tokens that end a generation according to the settings of a model folder."""
    return end_tokens(_settings(folder))


def _load(path: str | Path, place: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    check_small_files(Path(path))
    _refuse_no_tokenizer(Path(path))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # depends on the folder's values; raised anywhere in Transformers
        refuse_deleted(Path(path))
        why = _only_sentencepiece(Path(path)) or (
            f"{reason(error)}; copy or save its files again: tokenizer.json, "
            f"tokenizer_config.json and {TEMPLATE_NAME}"
        )
        raise ModelError(f"{path}: Transformers cannot load its tokenizer: {why}") from error
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ModelError(
            f"{path}: model_max_length in tokenizer_config.json is "
            f"{tokenizer.model_max_length!r}, not a number; correct or remove it"
        )
    tokenizer = _as_written(tokenizer, Path(path))
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not tokenizer.chat_template:
        raise ModelError(
            f"{path}: the tokenizer has no chat template; put one (Jinja), such as that of the "
            f"model it was trained from, into {place}"
        )
    if tokenizer.eos_token is None:
        raise ModelError(
            f"{path}: the tokenizer has no end-of-sequence token; add 'eos_token' to its "
            "tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _refuse_no_tokenizer(folder: Path) -> None:
    """Refuse a folder with weights alone, as some training scripts save it."""
    if not folder.is_dir():
        return
    if (
        not any(p.suffix in _VOCABULARIES or "vocab" in p.name for p in folder.iterdir())
        and not (folder / "tokenizer.json").is_file()
    ):
        raise ModelError(
            f"{folder} has no tokenizer; copy tokenizer.json, tokenizer_config.json and "
            f"{TEMPLATE_NAME} from the model that it was trained from into it"
        )
    if (folder / "tokenizer_config.json").is_file():
        read_object(folder / "tokenizer_config.json")


def _as_written(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """Return a tokenizer that encodes as ``tokenizer.json`` says.

    For some architectures Transformers takes only the vocabulary from there and splits text as the
    family's first models did: for Qwen2, every digit is separate, whatever the model was trained
    with.
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
    except Exception:  # tokenizers has no common class; the file lacks tokens that the class needs
        found = []
    # How a text starts depends on a setting outside the file (add_prefix_space); compare the rest.
    n_same = len(os.path.commonprefix([found[::-1], expected[::-1]]))  # noqa: RUF071
    if max(len(found), len(expected)) - n_same <= N_FIRST:
        return tokenizer
    logger.warning(
        "warning: %s: Transformers would load tokenizer.json as a %s, which splits text into other "
        "tokens; it is used as written instead (as by TokenizersBackend.from_pretrained)",
        folder,
        type(tokenizer).__name__,
    )
    plain: PreTrainedTokenizerBase = TokenizersBackend.from_pretrained(
        folder, local_files_only=True
    )
    return plain


def _refuse_tokens_without_row(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a tokenizer with more tokens than the model, unless no chat can contain the others."""
    n_rows = load_config(folder).get_text_config().vocab_size
    written = tokenizer(markup(tokenizer), add_special_tokens=False)["input_ids"]
    added = tokenizer.added_tokens_decoder.keys()
    words = (i for i in tokenizer.get_vocab().values() if i not in added)
    used = {*words, *written, chat_format(tokenizer).end_of_turn, tokenizer.pad_token_id}
    beyond = sorted(token for token in used if token >= n_rows)
    if beyond:
        raise ModelError(
            f"{folder}: the model has embeddings for {n_rows} tokens, but "
            f"{tokenizer.convert_ids_to_tokens(beyond[0])!r} has the id {beyond[0]} in the "
            f"tokenizer, which has {len(tokenizer)}: use the tokenizer that belongs to these "
            "weights, or call model.resize_token_embeddings(len(tokenizer)) and save_pretrained; "
            "as pad_token, any token that the model has will do"
        )


def _only_sentencepiece(folder: Path) -> str | None:
    """Explain how to read a SentencePiece file, where Transformers wrongly asks for tiktoken."""
    for path in [] if (folder / "tokenizer.json").is_file() else folder.glob("*.model"):
        with open(path, "rb") as file:
            if file.read(1) == SENTENCEPIECE:
                return (
                    f"{path.name} is a SentencePiece file, and there is no tokenizer.json; 'pip "
                    "install sentencepiece protobuf' (both), or put a tokenizer.json into the "
                    "folder: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes "
                    "it if both are installed"
                )
    return None


def _name_end_of_turn(folder: Path, token: int) -> None:
    """Add the end of turn to the end tokens in the folder's generation settings."""
    settings = _settings(folder)
    ends = end_tokens(settings)
    if token not in ends:
        settings.eos_token_id = [token, *sorted(ends)]
        atomic_write_json(folder / SETTINGS_NAME, settings.to_diff_dict())


def _settings(folder: Path) -> GenerationConfig:
    from transformers import GenerationConfig

    if not (folder / SETTINGS_NAME).is_file():
        return GenerationConfig.from_model_config(load_config(folder))  # as Transformers does
    ends = read_object(folder / SETTINGS_NAME).get("eos_token_id")
    listed = ends if isinstance(ends, list) else [0 if ends is None else ends]
    try:
        if not all(isinstance(end, int) for end in listed):
            raise TypeError(f"eos_token_id is {ends!r}, not a token's number or a list of these")
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # depends on the values
        raise ModelError(
            f"{folder / SETTINGS_NAME}: Transformers cannot read it: {reason(error)}; correct it, "
            "or remove it"
        ) from error
