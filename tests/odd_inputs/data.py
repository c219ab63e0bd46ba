"""Odd data files: formats × layouts × texts × damage × metrics × splits."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sft_tradeoff.domains.base import Example
from sft_tradeoff.domains.own.domain import DOMAIN, generate
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.study.config import load_study
from tests.odd_inputs import files, front_door
from tests.odd_inputs.layouts import LAYOUTS, Layout, Record
from tests.odd_inputs.learn import learn as learn_study
from tests.odd_inputs.outcome import Expected, Outcome, fault, verdict
from tests.odd_inputs.texts import TEXTS, Text

MODEL = "random-2layer"
N_ROWS = 24
LABELS = ("positive", "negative", "not sure")
NUMBERS = ("7", "-3", "19.5", "0", "1200", "0.25", "42", "3")


class DataInput(NamedTuple):
    """A data file.

    Args:
        name: What is odd.
        path: The file or folder.
        metric: How answers are graded.
        records: What it says.
        expected: Outcome.
        all_used: Whether each record must become an example.
    """

    name: str
    path: Path
    metric: str
    records: tuple[Record, ...]
    expected: Expected
    all_used: bool


# --- rows: how many, and how they relate ---------------------------------------------------------


def _marked(records: list[Record], splits: str) -> list[Record]:
    names = {"train": 2, "test": 1, "validation": 1}
    order = [name for name in splits.split() for _ in range(names[name])]
    given = itertools.cycle(order)
    return [replace(record, split=next(given)) for record in records]


def _leak(records: list[Record]) -> list[Record]:
    marked = _marked(records, "train test")
    return [*marked, replace(marked[0], split="test")]


def _contradiction(records: list[Record]) -> list[Record]:
    return [*records, replace(records[0], response=records[1].response)]


def _some_unmarked(records: list[Record]) -> list[Record]:
    return [*_marked(records[:-1], "train test"), records[-1]]


ROWS = {  # name -> change, expected, whether all records are used
    "plain": (lambda r: r, "accepted", True),
    "splits": (lambda r: _marked(r, "train test"), "accepted", True),
    "three splits": (lambda r: _marked(r, "train test validation"), "accepted", True),
    "no test": (lambda r: _marked(r, "train validation"), "refused", True),
    "no training": (lambda r: _marked(r, "test"), "refused", True),
    "unknown split": (lambda r: [replace(x, split="dev2") for x in r], "refused", True),
    "split of some": (_some_unmarked, "refused", True),
    "leak": (_leak, "refused", True),
    "duplicates": (lambda r: [*r, *r[:5]], "accepted", False),
    "contradiction": (_contradiction, "accepted", False),
    "one prompt": (lambda r: [replace(x, prompt=r[0].prompt) for x in r], "refused", False),
    "few": (lambda r: r[:6], "refused", True),
    "one": (lambda r: r[:1], "refused", True),
}


class Parts(NamedTuple):
    """What a file is made of; by default nothing is odd."""

    layout: str = "prompt, response"
    form: str = "jsonl"
    text: str = "plain"
    rows: str = "plain"
    damage: str | None = None


def _parts(i: int, rng: random.Random) -> Parts:
    """Parts of the i-th file: one is the next of its list, or all are usual in any combination."""
    n, kind = divmod(i, 6)
    if kind == 0:
        return Parts(layout=list(LAYOUTS)[n % len(LAYOUTS)])
    if kind == 1:
        form = files.FORMATS[n % len(files.FORMATS)]
        return Parts(form=form, rows="splits" if form in files.SPLIT_FOLDERS else "plain")
    if kind == 2:
        return Parts(text=list(TEXTS)[n % len(TEXTS)])
    if kind == 3:
        return Parts(rows=list(ROWS)[n % len(ROWS)])
    if kind == 4:
        damage = list(files.DAMAGE)[n % len(files.DAMAGE)]
        forms = [form for form in files.DAMAGE[damage][0] if form in files.FILES]
        return Parts(form=rng.choice(forms), damage=damage)
    layout = rng.choice([name for name, one in LAYOUTS.items() if one.expected == "accepted"])
    flat, splits = LAYOUTS[layout].flat, ["splits", "three splits"]
    form = rng.choice([form for form in files.FORMATS if flat or form not in files.FLAT])
    return Parts(
        layout=layout,
        form=form,
        text=rng.choice([name for name, one in TEXTS.items() if one.expected == "accepted"]),
        rows=rng.choice(
            splits if form in files.SPLIT_FOLDERS else [*splits, "plain", "duplicates"]
        ),
    )


def _record(i: int, layout: Layout, text: Text, metric: str, is_roomy: bool) -> Record:
    """The i-th record of a file, as far as its layout can say it."""
    prompt, response, answer = text.prompt(i), text.response(i), None
    if metric == "choice":
        response = LABELS[i % len(LABELS)]
    elif metric == "numeric":
        number = NUMBERS[i % len(NUMBERS)]
        graded = "answer" in layout.keys
        response, answer = (f"{response}\n\nAnswer: {number}", number) if graded else (number, None)
    return Record(
        prompt=f"{prompt}\n\nOf part {i}" if layout.joined else prompt,
        response=response,
        answer=answer,
        system="Be brief." if is_roomy and "system" in layout.keys else None,
        history=("Hi", "Hello!") if is_roomy and "history" in layout.keys else (),
    )


def _expected(each: Iterable[Expected]) -> Expected:
    """A file must be refused if one part of it must; only if all are usual it must be accepted."""
    found = set(each)
    return "refused" if "refused" in found else None if None in found else "accepted"


def make(folder: Path, seed: int, i: int) -> DataInput:
    """Write the i-th data file into a new folder; random parts depend on seed and number."""
    rng = random.Random(f"{seed} data {i}")
    parts = _parts(i, rng)
    layout, text = LAYOUTS[parts.layout], TEXTS[parts.text]
    change, rows_expected, all_used = ROWS[parts.rows]
    metric = rng.choice(["exact_match"] * 3 + ["numeric", "choice"])
    is_roomy = rng.random() < 0.5
    records = change([_record(j, layout, text, metric, is_roomy) for j in range(N_ROWS)])
    path, form = _write(records, layout, parts.form, folder)
    each = [layout.expected, rows_expected, text.expected]
    if parts.damage is not None:
        _, damage, expected = files.DAMAGE[parts.damage]
        changed = damage(path, rng)
        path = changed if isinstance(changed, Path) else path
        each.append(expected)
        all_used = False
    what = [form, parts.layout, parts.text, parts.rows, metric, parts.damage or "whole"]
    return DataInput(" | ".join(what), path, metric, tuple(records), _expected(each), all_used)


def _write(records: list[Record], layout: Layout, form: str, folder: Path) -> tuple[Path, str]:
    rows = []
    for record in records:
        row = layout.row(record)
        if record.split is not None:
            row["split"] = record.split
        rows.append(row)
    folder.mkdir(parents=True)
    try:
        return files.write(rows, form, folder), form
    except UnicodeEncodeError:  # half of a surrogate pair: only JSON's escapes can write it
        return files.write(rows, "jsonl", folder), "jsonl"


# --- judging -------------------------------------------------------------------------------------


def judge(one: DataInput) -> Outcome:
    """Ask for a study of this file: refused clearly, or its examples are what the file says."""
    with front_door.project():
        outcome = front_door.ask(one.path, MODEL, one.metric, ["path:"], one.expected)
        if outcome.kind != "accepted":
            return outcome
        (spec,) = load_study(front_door.written_study()).domains
        assert isinstance(spec, OwnSpec)
        return verdict(_compare(one, spec), one.expected)


def _compare(one: DataInput, spec: OwnSpec) -> Outcome:
    marked = any(record.split == "validation" for record in one.records)
    splits = generate(spec.model_copy(update={"n_validation": N_ROWS * marked}))
    wanted = Counter(_said(record) for record in one.records)
    found = Counter(_read(example) for split in splits.values() for example in split)
    if surplus := found - wanted:
        return fault(f"other texts than the file's: {sorted(surplus, key=repr)[0]!r}")
    if one.all_used and found != wanted:
        return fault(f"lost: {sorted(wanted - found, key=repr)[0]!r}")
    if not splits["train"] or len(splits["test"]) < 2:
        return fault("too few examples")
    for example in itertools.chain.from_iterable(splits.values()):
        if not DOMAIN.score(example.to_dict(), example.response).correct:
            return fault(f"its own answer is graded wrong: {example}")
    return Outcome("accepted")


def _said(record: Record) -> tuple[object, ...]:
    answer = record.response if record.answer is None else record.answer
    return record.system, record.history, record.prompt, record.response, answer.strip()


def _read(example: Example) -> tuple[object, ...]:
    history = tuple(turn["content"] for turn in example.history)
    return example.system, history, example.prompt, example.response, example.answer


def learn(one: DataInput) -> Outcome:
    """Train and evaluate on a file that was accepted."""
    with front_door.project():
        front_door.ask(one.path, MODEL, one.metric)
        return learn_study(front_door.written_study())


def inputs(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[DataInput]:
    """Write the data files with these numbers."""
    for i in numbers:
        yield make(folder / f"{i:04d}", seed, i)
