"""What a benchmark of the general suite is: its items, how a model is asked, how it is scored.

No lm-eval here: Snakemake imports the registry for every dry run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sft_tradeoff.grading.text import text_id
from sft_tradeoff.suite.items import Item, Kind

Samples = Iterable[Mapping[str, Any]]  # lm-eval's log: one entry per item and filter
Row = tuple[str, str, str, float, float]  # (benchmark, item, metric, value, size)
TaskDefinition = dict[str, Any]  # as lm-eval's task manager takes it

# Tokens per item, (read, generated), as `sft-tradeoff cost` assumes them; all choices are read.
ITEM_TOKENS: dict[Kind, tuple[int, int]] = {
    "multiple_choice": (100, 0),
    "text": (220, 0),
    "generation": (200, 250),
}


class TaskOptions(NamedTuple):
    """What a task depends on besides its items.

    Args:
        tokenizer: Of the evaluated model, with its chat template.
        execute_code: Whether the study lets generated code run (in the sandbox).
    """

    tokenizer: Any
    execute_code: bool


def sample_rows(name: str, samples: Samples) -> Iterator[Row]:
    """Yield one row per item and metric: Σ value / Σ size over items is the score.

    Args:
        name: Of the benchmark.
        samples: lm-eval's log of a task whose metrics are numbers per item.
    """
    for sample in samples:
        item = str(sample["doc"]["id"])
        for metric in sample["metrics"]:
            value = sample[metric]
            if metric == "bits_per_byte":  # lm-eval logs (log-likelihood in nats, bytes)
                yield name, item, metric, -value[0] / math.log(2), float(value[1])
            else:
                yield name, item, metric, float(value), 1.0


def extracted(sample: Mapping[str, Any]) -> str | None:
    """What lm-eval's filter found in a generation; None if there is no filter."""
    found, (generation, *_) = sample["filtered_resps"][0], sample["resps"][0]
    return None if found == generation else str(found)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark of the general suite: everything that any stage knows about it.

    Args:
        name: As a study lists it under ``evaluation.tasks``.
        asset: Its asset in the catalogue; None: the items are generated.
        build: Asset folder (None without an asset) → items, in the order of the source.
        kind: Schema of its items, see :data:`~sft_tradeoff.suite.items.COLUMNS`.
        columns: Further columns that prompt or grading read; none may be empty.
        shared: The column that several items may have in common, such as a passage: they are then
            one independent unit. Empty: every item is independent (a text with all its windows, a
            question, a function).
        task: Name, items, options → task definition, with the items as its data set.
        rows: Name, lm-eval's log → one row per item and metric.
        parsed: Entry of lm-eval's log → the answer found in a generation, if the grading rule
            finds one.
        n_items: Number of items, for estimates of cost.
        accuracy: Metric that counts in the general score; None: not an accuracy.
        runs_code: Whether scoring runs code that the model wrote.
        chat_template: Whether prompts must be in the model's chat template (True) or must not be
            (False); None: the study decides.
        rendered: Whether ``task`` has put its prompts into the chat template already.
        grader_asset: Asset that scoring reads, e.g. a sentence splitter.
    """

    name: str
    asset: str | None
    build: Callable[[Path], list[Item]] | Callable[[Path | None], list[Item]]
    kind: Kind
    task: Callable[[str, Sequence[Item], TaskOptions], TaskDefinition]
    n_items: int
    columns: tuple[str, ...] = ()
    shared: str = ""
    accuracy: str | None = None
    rows: Callable[[str, Samples], Iterable[Row]] = sample_rows
    parsed: Callable[[Mapping[str, Any]], str | None] = extracted
    runs_code: bool = False
    chat_template: bool | None = None
    rendered: bool = False
    grader_asset: str | None = None

    def cluster(self, item: Item) -> str:
        """The independent unit that an item belongs to: what it shares with others, or itself."""
        return text_id(item[self.shared]) if self.shared else str(item["id"])

    @property
    def item_tokens(self) -> tuple[int, int]:
        """Tokens read and generated per item, for estimates of cost."""
        return ITEM_TOKENS[self.kind]
