"""lm-eval task whose prompts are chat messages, answered greedily and graded by our own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
RENDERED = "rendered_by_chat_template"  # key of a doc whose prompt is, and needs no BOS beyond it


def chat_task(
    name: str,
    records: Sequence[Record],
    render_prompt: Callable[[str, str | None], str],
    grade: Callable[[Record, str], dict[str, float]],
    higher_is_better: Mapping[str, bool],
    max_gen_toks: int,
) -> dict[str, Any]:
    """Build the task as lm-eval's task manager takes it.

    Args:
        name: The task's name.
        records: Each with ``prompt``, perhaps ``system``; the logged ``doc`` holds it all as JSON.
        render_prompt: User and system message -> text that the model continues (chat template).
        grade: Record and response -> metrics.
        higher_is_better: By metric, all that ``grade`` gives.
        max_gen_toks: Tokens that may be generated.
    """

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        # As text: a table would fill every record's columns with those of all the others.
        rows = [
            {
                "prompt": render_prompt(r["prompt"], r.get("system")),
                "record": json.dumps(r),
                RENDERED: True,
            }
            for r in records
        ]
        return {"test": Dataset.from_list(rows)}

    def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
        return grade(json.loads(doc["record"]), results[0])

    return {
        "task": name,
        "custom_dataset": load,
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
