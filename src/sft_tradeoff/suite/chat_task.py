"""lm-eval task whose prompts are chat messages, answered greedily and graded by our own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sft_tradeoff.chat import chat_format, render_prompt
from sft_tradeoff.suite.dataset import in_memory

Record = Mapping[str, Any]
RENDERED = "rendered_by_chat_template"  # key of a doc whose prompt is, and needs no BOS beyond it


def chat_task(
    name: str,
    records: Sequence[Record],
    tokenizer: Any,
    grade: Callable[[Record, str], dict[str, float]],
    higher_is_better: Mapping[str, bool],
    max_gen_toks: int,
) -> dict[str, Any]:
    """Build the task as lm-eval's task manager takes it.

    Args:
        name: The task's name.
        records: Each with a ``prompt``, and ``system`` if it has a system turn; the logged ``doc``
            holds the whole one as JSON.
        tokenizer: With the chat template of the model.
        grade: Record and answer -> metrics; what the template has the model write before the answer
            is none of it.
        higher_is_better: By metric, all that ``grade`` gives.
        max_gen_toks: Tokens that may be generated.
    """
    # As text: a table would fill every record's columns with those of all the others.
    rows = [
        {
            "prompt": render_prompt(tokenizer, r["prompt"], r.get("system")),
            "record": json.dumps(r),
            RENDERED: True,
        }
        for r in records
    ]

    def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
        return grade(json.loads(doc["record"]), chat_format(tokenizer).answer(results[0]))

    return {
        "task": name,
        "custom_dataset": in_memory({"test": rows}),
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "",
        "process_results": process_results,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": better}
            for metric, better in higher_is_better.items()
        ],
        "generation_kwargs": {"max_gen_toks": max_gen_toks, "do_sample": False, "until": []},
        "metadata": {"version": 1.0},
    }
