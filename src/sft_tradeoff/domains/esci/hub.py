"""Amazon's ESCI: does a product fit a shopping query? Real queries, products and labels.

Shopping Queries Data Set (arXiv 2206.06588), as published in ``tasksource/esci``. How the paper
drew its 49K / 1K / 10K examples is unknown. Here: locale ``us``; the data set's own test split is
the test; no test query (up to case and white space) is in training. Test and training are random
samples of pairs; validation takes all pairs of some training queries.

Sellers write HTML with tags and entities (``<br>``, ``&amp;``). Prompts show what a browser would
show, each field on one line and truncated to :data:`LONGEST_FIELD` characters. Test products may be
trained on with other queries, as in the data set; the data card counts them.

The data set has labels but no explanations, and the source of the paper's chains of thought is not
public, so the only variant is ``label_only``.
"""

from __future__ import annotations

import functools
import html
import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sft_tradeoff.assets.records import Row, data_files, parquet_batches, printable, read_rows
from sft_tradeoff.domains.base import SPLITS, Domain, Example, Splits
from sft_tradeoff.domains.draw import digest, draw, excluded_by_validation, left_out
from sft_tradeoff.domains.esci.generated import LABELS, score
from sft_tradeoff.grading.text import INVISIBLE, normalize
from sft_tradeoff.system.records import RecordError

if TYPE_CHECKING:
    from sft_tradeoff.domains.esci.spec import HubEsciSpec

LOCALE = "us"
LONGEST_FIELD = 1000  # characters; some bullet points and descriptions are pages long
PRODUCT = {
    "Title": "product_title",
    "Brand": "product_brand",
    "Color": "product_color",
    "Features": "product_bullet_point",
    "Description": "product_description",
}
KEYS = ("example_id", "query", "product_locale", "split")
COLUMNS = (*KEYS, "query_id", "product_id", "esci_label", *PRODUCT.values())
_DIGIT_OF = {
    spelling.lower(): digit for digit, name in LABELS.items() for spelling in (name, name[0])
}
_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
# Only names of HTML elements, so that "fits <6 in> phones" is kept.
_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|font|h[1-6]|head|hr|html|i|"
    r"img|li|link|meta|ol|p|pre|q|s|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|"
    r"title|tr|tt|u|ul|wbr)(?:\s[^<>]*|/)?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&#?\w{1,31};")
_PROMPT = """\
Classify the product for the search query: 0 Exact (relevant and everything asked for is met), \
1 Substitute (not all is met, but it can be used instead), 2 Complement (does not answer the \
query, but is used together with what does), 3 Irrelevant.
Query: {query}
{product}
Reply with the digit only, as <answer>digit</answer>."""


class Candidates(NamedTuple):
    """All pairs of the locale, one array per property.

    Args:
        order: [n] uint64 random order.
        query: [n] uint64 digest of the query, up to case and white space.
        place: [n, 2] int64 index of the file, and of the row in it.
        is_test: [n] bool.
    """

    order: np.ndarray
    query: np.ndarray
    place: np.ndarray
    is_test: np.ndarray


def generate(spec: HubEsciSpec, source: Path) -> Splits:
    """Draw the splits from the key columns, then read the drawn pairs.

    Args:
        spec: Sizes and seed; ``n_train`` is an upper limit.
        source: Folder with the Parquet files of the splits ``train`` and ``test``.

    Returns:
        Split name -> examples.

    Raises:
        RecordError: Naming file, row and column.
        ValueError: If a size cannot be met.
    """
    paths = [*data_files(source, "train"), *data_files(source, "test")]
    for path in paths:
        if path.suffix != ".parquet":
            raise RecordError(f"{path}: ESCI's files must be Parquet; convert it")
    found = _candidates(paths, spec.seed)
    test = np.flatnonzero(found.is_test)
    both = ~found.is_test & np.isin(found.query, found.query[test])
    n_train = int((~found.is_test).sum())
    remarks = [left_out(int(both.sum()), n_train, "their query is in the test split")]
    free = np.flatnonzero(~found.is_test & ~both)
    drawn = draw(spec, found.order[free], found.query[free], found.order[test])
    chosen = {
        "train": found.place[free[drawn.train]],
        "validation": found.place[free[drawn.validation]],
        "test": found.place[test[drawn.test]],
    }
    remarks.append(excluded_by_validation(drawn, len(free), "query"))
    examples = _read(paths, np.concatenate([chosen[split] for split in SPLITS]))
    splits = {split: [examples[tuple(place)] for place in chosen[split]] for split in SPLITS}
    return Splits(splits, [*remarks, *_remarks(splits)])


def _remarks(splits: Mapping[str, list[Example]]) -> Iterator[str]:
    """What the drawn examples share, and how many fields are truncated."""
    trained = {example.meta["product_id"] for example in splits["train"]}
    test = splits["test"]
    n_shared = sum(example.meta["product_id"] in trained for example in test)
    yield (
        f"{n_shared} of {len(test)} test pairs have a product that is also trained on, with "
        "another query."
    )
    n_cut = {split: sum("cut" in example.meta for example in splits[split]) for split in SPLITS}
    counts = ", ".join(f"{n} of {len(splits[split])} in {split}" for split, n in n_cut.items())
    yield f"Prompts with a field truncated to {LONGEST_FIELD} characters: {counts}."


def _candidates(paths: list[Path], seed: int) -> Candidates:
    """Read the columns that the draw needs, in one pass."""
    order, query, is_test = array("Q"), array("Q"), array("b")
    file, row_in_file = array("q"), array("q")
    of_query = functools.lru_cache(1 << 16)(lambda text: digest(seed, normalize(text)))
    for index, path in enumerate(paths):
        for at, row in enumerate(read_rows([path], KEYS)):
            if row.values["product_locale"] == LOCALE:
                order.append(digest(seed, row.text("example_id")))
                query.append(of_query(row.text("query")))
                is_test.append(_is_test(row))
                file.append(index)
                row_in_file.append(at)
    places = np.stack([np.array(file), np.array(row_in_file)], axis=1)
    return Candidates(np.array(order), np.array(query), places, np.array(is_test, dtype=bool))


def _is_test(row: Row) -> bool:
    if row.values["split"] not in ("train", "test"):
        raise row.error("split", f"is {row.values['split']!r}, neither 'train' nor 'test'")
    return bool(row.values["split"] == "test")


def _read(paths: list[Path], places: np.ndarray) -> dict[tuple[int, int], Example]:
    """Read all columns of the drawn pairs; keys are their places."""
    examples = {}
    for index, path in enumerate(paths):
        wanted = np.sort(places[places[:, 0] == index, 1])
        first = 0
        for batch in parquet_batches(path, COLUMNS):
            low, high = np.searchsorted(wanted, (first, first + len(batch)))
            rows = wanted[low:high]
            for at, record in zip(rows, batch.take(rows - first).to_pylist(), strict=True):
                examples[index, int(at)] = _example(Row(path, int(at) + 1, record))
            first += len(batch)
    return examples


def _example(row: Row) -> Example:
    label = row.text("esci_label").lower()
    if label not in _DIGIT_OF:
        names = ", ".join(LABELS.values())
        raise row.error("esci_label", f"is {row.values['esci_label']!r}, not one of {names}")
    fields = {name: _shown(row, column) for name, column in PRODUCT.items()}
    cut = [name for name, text in fields.items() if len(text) > LONGEST_FIELD]
    lines = [f"{name}: {text[:LONGEST_FIELD]}" for name, text in fields.items() if text]
    product = "\n".join(lines)
    if not product:
        raise row.error(PRODUCT["Title"], "is empty, and so is every other field of the product")
    answer = _DIGIT_OF[label]
    return Example(
        id=f"esci-{row.text('example_id')}",
        prompt=_PROMPT.format(query=" ".join(row.text("query").split()), product=product),
        response=f"<answer>{answer}</answer>",
        answer=answer,
        meta={
            "label": LABELS[answer],
            "query_id": row.text("query_id"),
            "product_id": row.text("product_id"),
            **({"cut": cut} if cut else {}),
        },
    )


def _shown(row: Row, column: str) -> str:
    """A field on one line, as a browser shows it; empty if the product lacks it."""
    value = row.values[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise row.error(column, f"is {value!r}, not a text")
    text = _TAG.sub(" ", _HIDDEN.sub(" ", _unescaped(value)))
    # Again, for what was escaped twice, such as "&amp;nbsp;".
    return " ".join(printable(_unescaped(text)).translate(INVISIBLE).split())


def _unescaped(text: str) -> str:
    """Replace entities that end in a semicolon; "black&gold" has none."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def cluster(record: Mapping[str, Any]) -> str:
    """The query, which is paired with several products."""
    return f"query-{record['meta']['query_id']}"


DOMAIN = Domain(
    description=(
        "ESCI: label a product for a shopping query as Exact (0), Substitute (1), Complement (2) "
        f"or Irrelevant (3). Pairs of the locale {LOCALE!r}; labels are not balanced. Fields of a "
        f"product are shown without HTML, up to {LONGEST_FIELD} characters each."
    ),
    source="Reddy et al. 2022, Shopping Queries Data Set (arXiv 2206.06588)",
    license="Apache-2.0",
    generate=generate,
    score=score,
    max_new_tokens={"label_only": 12},
    labels=tuple(LABELS),
    unit="query",
    cluster=cluster,
)
