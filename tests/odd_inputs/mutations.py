"""Random mutations in one process: lines of data, values in rows, values of studies."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sft_tradeoff.domains.own.domain import DOMAIN, generate
from sft_tradeoff.domains.own.spec import OwnSpec
from sft_tradeoff.planning.own_data import check_data
from sft_tradeoff.planning.own_template import read_template
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.runs import run_table
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.console import UserError
from tests.odd_inputs import studies
from tests.odd_inputs.outcome import Outcome, fault, refusal
from tests.odd_inputs.texts import TEXTS

N_LINES = 14
AS_WRITTEN = json.JSONDecoder(parse_int=str, parse_float=str)
KINDS = (*["bytes of data"] * 2, *["rows of data"] * 3, "study")
KEYS = ("prompt", "response", "answer", "split", "system", "messages", "weight", "tools", "label")
ODD_JSON: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**400, "", " ", "train", "test", "7", "x" * 900),
    *([], {}, [[]], [1, "a"], {"a": None}, [{"role": "user", "content": "a"}]),
    *(text.pattern for text in TEXTS.values()),
)


class Mutation(NamedTuple):
    """A mutation, made where it is judged.

    Args:
        name: What is mutated.
        path: File that holds the mutated input while it is judged, and afterwards if it fails.
        seed: Of the mutation.
    """

    name: str
    path: Path
    seed: str


def inputs(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[Mutation]:
    """Name the mutations with these numbers."""
    for i in numbers:
        kind = KINDS[i % len(KINDS)]
        yield Mutation(kind, folder / f"{i:05d}" / "input", f"{seed} mutations {i}")


def judge(one: Mutation) -> Outcome:
    """Make a mutation and judge it."""
    one.path.parent.mkdir(parents=True)
    rng = random.Random(one.seed)
    outcome = _study(one, rng) if one.name == "study" else _data(one, rng)
    if outcome.kind != "fault":
        one.path.unlink(missing_ok=True)
        one.path.parent.rmdir()
    return outcome


def _rows(rng: random.Random) -> list[Any]:
    rows: list[Any] = []
    for i in range(N_LINES):
        row: dict[str, Any] = {"prompt": f"What is {i} + {i}?", "response": f"{2 * i}"}
        rows.append(row)
    if rng.random() < 0.3:
        for i, row in enumerate(rows):
            row["split"] = "test" if i % 4 == 0 else "train"
    return rows


def _mutate_rows(rows: list[Any], rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(rows))
        row = rows[i]
        action = rng.randrange(6)
        if action == 0 or not isinstance(row, dict) or not row:
            rows[i] = rng.choice(ODD_JSON)
        elif action == 1:
            row.pop(rng.choice(list(row)))
        elif action == 2:
            row[rng.choice(KEYS)] = rng.choice(ODD_JSON)
        elif action == 3:
            key = rng.choice(list(row))
            row[rng.choice([key.upper(), f"{key} ", key[:-1], rng.choice(KEYS)])] = row.pop(key)
        elif action == 4:
            rows.append(rng.choice(rows))
        else:
            row[rng.choice(list(row))] = rng.choice(ODD_JSON)


def _mutate_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        action = rng.randrange(4)
        if action == 0:
            data[at] = rng.randrange(256)
        elif action == 1:
            del data[at : at + rng.randint(1, 40)]
        elif action == 2:
            data[at:at] = rng.choice(
                [b"\n", b'"', b"\\", b"{", b"}", b",", b"\r", b"\xc3", b"\\u00"]
            )
        else:
            data[at:at] = data[at : at + rng.randint(1, 200)]


def _data(one: Mutation, rng: random.Random) -> Outcome:
    """Data are refused, or each example is what Python's own parser finds from its line on."""
    rows = _rows(rng)
    if one.name == "rows of data":
        _mutate_rows(rows, rng)
    raw = bytearray("".join(json.dumps(row) + "\n" for row in rows).encode())
    if one.name == "bytes of data":
        _mutate_bytes(raw, rng)
    one.path.write_bytes(raw)
    settings = read_template()["domains"][0] | {"metric": rng.choice(["exact_match", "numeric"])}
    try:
        splits = generate(OwnSpec.model_validate(check_data(one.path, settings)))
    except (UserError, ValueError) as error:
        return refusal(str(error), ["path:"], None)
    for split in splits.values():
        for example in split:
            if not DOMAIN.score(example.to_dict(), example.response).correct:
                return fault(f"its own answer is graded wrong: {example}")
            rest = raw.split(b"\n", example.meta["line"] - 1)[-1].decode("utf-8-sig")
            texts = set(_texts(AS_WRITTEN.raw_decode(rest.lstrip())[0]))
            answers = {text.strip() for text in texts}
            if not {example.prompt, example.response} <= texts or example.answer not in answers:
                return fault(f"another text than the line's: {example}")
    return Outcome("accepted")


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value; a key may be spelled in capitals, or turns be in a list."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value if isinstance(value, list) else value.values():
            yield from _texts(inner)


def _study(one: Mutation, rng: random.Random) -> Outcome:
    """Several values are changed, so that either outcome is right; a refusal names one of them."""
    study = copy.deepcopy(rng.choice(studies.shipped(one.path.parents[1])))
    stem = study["study"]
    for _ in range(rng.randint(1, 3)):
        studies.change(study, rng)
    one.path.write_text(repr(study), encoding="utf-8")
    try:
        parsed = parse_study(study, f"{stem}.yaml")
        check_files(parsed, f"{stem}.yaml", BENCHMARKS)
        run_table(parsed)
    except UserError as error:
        return refusal(str(error), [stem], None)
    return Outcome("accepted")
