"""Load a model under the backend that a study chose: Transformers or vLLM."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from sft_tradeoff.chat import ChatFormat, chat_format, control_tokens
from sft_tradeoff.evaluation.lm import SharedPrefixLM
from sft_tradeoff.evaluation.prompt_encoding import PromptEncoding
from sft_tradeoff.models.head import check_head
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.supported import load_config, window
from sft_tradeoff.models.tokenizer import end_tokens, load_tokenizer
from sft_tradeoff.models.two_part import compute_dtype, load_in_two_parts
from sft_tradeoff.system.allocator import keep_freed_memory
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.processor import type_here

if TYPE_CHECKING:
    from sft_tradeoff.study.spec import EvaluationSpec


def load_lm(folder: Path, spec: EvaluationSpec, tokenizer: Any = None) -> Any:
    """Load a model for lm-eval, on the GPU if there is one.

    It computes with the weights as trained in both dtypes, unless vLLM rounds them: see
    :func:`weights_seen`.

    Args:
        folder: Weights and tokenizer.
        spec: Backend, dtype, window and batches.
        tokenizer: The folder's tokenizer, if it is loaded already.

    Raises:
        UserError: If the backend is not installed.
    """
    _refuse_wider_than_the_model(folder, spec)
    tokenizer = tokenizer or load_tokenizer(folder)
    chat = chat_format(tokenizer)
    if spec.backend == "vllm":
        return _load_vllm(folder, spec, _mark_for_vllm(tokenizer, chat))
    keep_freed_memory()
    in_bfloat16 = type_here(spec.dtype) == "bfloat16"
    model: Any = load_in_two_parts(folder) if in_bfloat16 else load_model(folder, torch.float32)
    check_head(model)
    # Plain greedy decoding: the model's own settings may contain a repetition penalty.
    model.generation_config = GenerationConfig(
        eos_token_id=sorted({chat.end_of_turn, *end_tokens(model.generation_config)}),
        pad_token_id=model.generation_config.pad_token_id,
    )
    return SharedPrefixLM(
        pretrained=model.eval().to("cuda" if torch.cuda.is_available() else "cpu"),
        tokenizer=tokenizer,
        think_end_token=chat.answer_mark,
        backend="causal",
        batch_size=spec.batch_size,
        batch_tokens=spec.batch_tokens,
        max_length=spec.max_length,
    )


def weights_seen(spec: EvaluationSpec) -> str:
    """``as trained``, or ``as shipped`` if the backend rounds the weights to bfloat16."""
    return "as shipped" if (spec.backend, spec.dtype) == ("vllm", "bfloat16") else "as trained"


def dtype_of(lm: Any, spec: EvaluationSpec) -> str:
    """The type in which a loaded model computes: float32 if it cannot in the study's."""
    if spec.backend == "vllm":
        return spec.dtype
    return str(compute_dtype(lm.model)).removeprefix("torch.")


def _refuse_wider_than_the_model(folder: Path, spec: EvaluationSpec) -> None:
    most = window(load_config(folder))
    if most is not None and spec.max_length > most:
        raise UserError(
            f"evaluation.max_length: {spec.max_length} exceeds the model's window of {most} "
            "tokens; lower it"
        )


def _mark_for_vllm(tokenizer: Any, chat: ChatFormat) -> str | None:
    """The answer mark as text, which lm-eval needs for vLLM.

    Raises:
        UserError: If it is a special token, which vLLM leaves out of its texts.
    """
    if chat.answer_mark is None:
        return None
    mark = str(tokenizer.convert_ids_to_tokens(chat.answer_mark))
    if mark in control_tokens(tokenizer):
        raise UserError(
            f"evaluation.backend: with vllm, this model's answers cannot be separated from the "
            f"text before {mark!r}, because vLLM leaves this token out of its output; set it to hf"
        )
    return mark


def _load_vllm(folder: Path, spec: EvaluationSpec, answer_mark: str | None) -> Any:
    if find_spec("vllm") is None:
        raise UserError(
            "evaluation.backend: vllm needs the package vllm, which is not installed; run 'pip "
            "install vllm' on a machine with GPUs, or set it to hf"
        )
    from lm_eval.models.vllm_causallms import VLLM

    class EncodingVLLM(PromptEncoding, VLLM):
        """vLLM with our encoding of prompts."""

        beyond_window = -1  # vLLM always generates a token

    return EncodingVLLM(
        pretrained=str(folder),
        dtype=spec.dtype,
        max_model_len=spec.max_length,
        batch_size="auto",
        think_end_token=answer_mark,
    )
