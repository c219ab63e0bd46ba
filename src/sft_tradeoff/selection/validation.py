"""Score weights on the validation examples of a domain, as evaluation scores them on the test."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import torch

from sft_tradeoff.evaluation.evaluate import read_test
from sft_tradeoff.evaluation.item_table import item_table
from sft_tradeoff.evaluation.load import load_lm
from sft_tradeoff.evaluation.tasks import Task, domain_task, run_tasks
from sft_tradeoff.system.files import sha256_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sft_tradeoff.domains.spec import DomainSpec
    from sft_tradeoff.study.spec import EvaluationSpec

SCORE_COLUMNS = ["item", "metric", "value", "size", "cluster"]


@dataclass(frozen=True)
class Validation:
    """The validation examples of a domain, and how they are asked.

    Args:
        task: Prompts, grading and right answers.
        evaluation: Type, window and batches.
        facts: Checksums of the examples.
    """

    task: Task
    evaluation: EvaluationSpec
    facts: dict[str, str]

    @classmethod
    def read(
        cls,
        spec: DomainSpec,
        evaluation: EvaluationSpec,
        data: Path,
        tokens: Path,
        tokenizer: PreTrainedTokenizerBase,
    ) -> Self:
        """Read and check the examples, so that bad ones stop a run before it trains.

        Args:
            spec: The domain.
            evaluation: How they are asked.
            data: ``validation.jsonl`` of the domain.
            tokens: The same examples, tokenized.
            tokenizer: Of the model.

        Raises:
            UserError: If they are unusable, or do not fit the window.
        """
        examples, tokenized = read_test(spec, data, tokens, evaluation.max_length)
        task = domain_task(spec, examples, tokenized, tokenizer, evaluation.max_length)
        facts = {
            "validation_sha256": examples.sha256,
            "validation_tokens_sha256": sha256_of(tokens),
        }
        return cls(task, evaluation, facts)

    def score(self, model_folder: Path) -> pd.DataFrame:
        """Score the weights of a folder: one row per example and metric (:data:`SCORE_COLUMNS`).

        Random generators and torch's settings stay as they are. A value that is not finite becomes
        NaN.
        """
        with _state_kept():
            lm = load_lm(model_folder, self.evaluation)
            rows, *_ = run_tasks(lm, [self.task], chat_template=False)
        del lm
        gc.collect()  # its parts refer to each other, and training needs the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return item_table(rows, [self.task])[SCORE_COLUMNS]


@contextmanager
def _state_kept() -> Iterator[None]:
    """Undo what a block does to the global random generators, and to the products of training."""
    python, numpy = random.getstate(), np.random.get_state()
    products = torch.backends.cuda.matmul
    reduced = products.allow_bf16_reduced_precision_reduction
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        products.allow_bf16_reduced_precision_reduction = reduced
