"""lm-eval tasks whose prompts are chat messages, answered greedily and graded by our own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sft_tradeoff.chat import chat_format, render_prompt
from sft_tradeoff.suite.dataset import in_memory

Record = Mapping[str, Any]
# Key of items whose prompt the chat template has rendered: it has its BOS already.
RENDERED = "rendered_by_chat_template"


def chat_task(
    name: str,
    records: Sequence[Record],
    tokenizer: Any,
    grade: Callable[[Record, str], dict[str, float]],
    higher_is_better: Mapping[str, bool],
    max_gen_toks: int,
) -> dict[str, Any]:
    """Build a task definition for lm-eval's task manager.

    Args:
        name: The task's name.
        records: Each with ``prompt``, and ``system`` and ``history`` if it has them; the logged
            ``doc`` holds the whole record as JSON.
        tokenizer: With the chat template of the model.
        grade: Record and answer → metrics. The answer is without what the template makes the model
            write before it, such as an empty block of thoughts.
        higher_is_better: For every metric that ``grade`` returns.
        max_gen_toks: Largest number of tokens to generate.
    """
    # JSON, because in a table every record would get the columns of all others.
    rows = [
        {
            "prompt": render_prompt(tokenizer, r),
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
