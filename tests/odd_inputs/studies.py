"""Odd studies: one thing of a shipped study is changed, in its values or in its file's text."""

from __future__ import annotations

import copy
import functools
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sft_tradeoff.study.config import load_study
from tests.odd_inputs import front_door
from tests.odd_inputs.outcome import Expected, Outcome, fault, verdict

Place = tuple[str | int, ...]
NOT_FINITE, HUGE, LONG = (math.inf, -math.inf, math.nan), 10**30, "x" * 300
ODD: tuple[Any, ...] = (
    *(None, "", " ", "abc", "a b", "../x", "é\x1b[31m", LONG, "1", "1.5", "null", "true"),
    *(-1, 0, 0.5, 1, 3, HUGE, -HUGE, 1e-300, *NOT_FINITE, True, False),
    *([], {}, [[]], [1], ["a", "a"], {"a": 1}, [{"name": "sft"}], [None]),
)
REQUIRED = {("study",), ("models",), ("domains",), ("methods",), ("learning_rates",)}
UNREPEATED = {"models", "domains", "methods", "seeds", "full", "adapter"}


class StudyInput(NamedTuple):
    """A study file.

    Args:
        name: What is odd.
        path: The file.
        named: What a refusal may name.
        expected: Outcome.
        place: Of a changed value.
        value: The changed value.
    """

    name: str
    path: Path
    named: tuple[str, ...]
    expected: Expected
    place: Place = ()
    value: Any = None


# --- changes of values ---------------------------------------------------------------------------


class Change(NamedTuple):
    """A change of a study: where, what it must lead to, how, and the new value, if it has one."""

    place: Place
    expected: Expected
    how: str
    value: Any = None


def places(value: Any, before: Place = ()) -> Iterator[Place]:
    """Where the values of a study stand, containers included."""
    if before:
        yield before
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from places(inner, (*before, key))


def _at(study: Any, place: Place) -> Any:
    for key in place:
        study = study[key]
    return study


def expected_of(old: Any, new: Any, place: Place) -> Expected:
    """What replacing a value must lead to."""
    if type(old) is type(new) and old == new:
        return "accepted"
    kinds = (bool, str, list, dict, (int, float))
    kind = next((k for k in kinds if isinstance(old, k)), None)
    if kind is None or new is None:
        return "refused" if place in REQUIRED else None
    if isinstance(new, kind) and not (kind == kinds[-1] and isinstance(new, bool)):
        numeric = kind == kinds[-1]
        wrong = numeric and (new in (-1, -HUGE) or not math.isfinite(float(new)))
        return "refused" if wrong else None
    if kind == kinds[-1] and isinstance(new, str):  # pydantic reads "1" as 1
        return None if new.replace(".", "").isdecimal() else "refused"
    free = kind is bool or (kind is dict and isinstance(new, str)) or "options" in place
    return None if free else "refused"


def _replace(study: dict[str, Any], rng: random.Random) -> Change:
    place = rng.choice(list(places(study)))
    old, new = _at(study, place), rng.choice(ODD)
    _at(study, place[:-1])[place[-1]] = copy.deepcopy(new)
    return Change(place, expected_of(old, new, place), f"is {str(new)[:20]!r}", new)


def _remove(study: dict[str, Any], rng: random.Random) -> Change:
    place = rng.choice([p for p in places(study) if isinstance(p[-1], str)])
    del _at(study, place[:-1])[place[-1]]
    return Change(place, "refused" if place in REQUIRED else None, "is removed")


def _misspell(study: dict[str, Any], rng: random.Random) -> Change:
    place = rng.choice([p for p in places(study) if isinstance(p[-1], str)])
    holder, key = _at(study, place[:-1]), str(place[-1])
    wrong = rng.choice([key + "x", key[1:] + key[0], key.upper(), f" {key}", key.replace("_", "-")])
    if wrong == key:
        return Change(place, "accepted", "is as before")
    holder[wrong] = holder.pop(key)
    return Change((*place[:-1], wrong), "refused", "is misspelled")


def _add(study: dict[str, Any], rng: random.Random) -> Change:
    holders = [(), *(p for p in places(study) if isinstance(_at(study, p), dict))]
    place = rng.choice(holders)
    key: Any = rng.choice(["unknown", "Study", "lr", "é", "\x1b[31m", LONG, 1, True, None, ""])
    _at(study, place)[key] = 1
    said = key if isinstance(key, str) else "unknown"
    return Change((*place, said), "refused", f"is added: {key!r:.20}")


def _repeat(study: dict[str, Any], rng: random.Random) -> Change:
    lists = [p for p in places(study) if isinstance(_at(study, p), list) and _at(study, p)]
    place = rng.choice(lists)
    values = _at(study, place)
    values.append(copy.deepcopy(rng.choice(values)))
    return Change(place, "refused" if place[-1] in UNREPEATED else None, "has a value twice")


VALUES = [_replace, _replace, _replace, _misspell, _add, _remove, _repeat]


# --- changes of the text -------------------------------------------------------------------------


def _dumped(**options: Any) -> Callable[[str], str]:
    return lambda text: yaml.safe_dump(yaml.safe_load(text), allow_unicode=True, **options)


def _doubled(text: str) -> str:
    """With a line of the top level twice."""
    line = next(x for x in text.splitlines() if x.startswith("models:"))
    return f"{text}\n{line}\n"


TEXT: dict[str, tuple[Callable[[str], str | bytes], Expected]] = {
    "flow style": (_dumped(default_flow_style=True), "accepted"),
    "block style": (_dumped(default_flow_style=False), "accepted"),
    "sorted": (_dumped(sort_keys=True), "accepted"),
    "narrow": (_dumped(width=5), "accepted"),
    "JSON": (lambda t: json.dumps(yaml.safe_load(t)), "accepted"),
    "comments": (lambda t: "# é\n" + t.replace("\n", "  # x\n", 1), "accepted"),
    "Windows line ends": (lambda t: t.replace("\n", "\r\n"), "accepted"),
    "byte order mark": (lambda t: "\ufeff" + t, "accepted"),
    "document marks": (lambda t: f"---\n{t}\n...\n", "accepted"),
    "unused anchor": (lambda t: t.replace("models: [", "models: &m [", 1), "accepted"),
    "null as tilde": (lambda t: t + "\ntolerance: ~\n", None),
    "key twice": (_doubled, "refused"),
    "tab": (lambda t: t + "\ntraining:\n\tepochs: 1\n", "refused"),
    "two documents": (lambda t: f"{t}\n---\n{t}", "refused"),
    "octal": (lambda t: t + "\nkeep_models: 010\n", "refused"),
    "base 60": (lambda t: t + "\nkeep_models: 1:30\n", "refused"),
    "unknown tag": (lambda t: t.replace("models: [", "models: !x [", 1), "refused"),
    "unknown anchor": (lambda t: t + "\nx: *nonesuch\n", "refused"),
    "open quote": (lambda t: t + '\ndescription2: "abc\n', "refused"),
    "open bracket": (lambda t: t + "\nx: [1, 2\n", "refused"),
    "nested brackets": (lambda t: t + f"\nx: {'[' * 3000}\n", "refused"),
    "merge of nothing": (lambda t: t + "\n<<: 1\n", "refused"),
    "date that is none": (lambda t: t + "\nx: 2026-02-30\n", "refused"),
    "empty": (lambda t: "", "refused"),
    "comment alone": (lambda t: "# nothing\n", "refused"),
    "list": (lambda t: "- a\n- b\n", "refused"),
    "text": (lambda t: "quick\n", "refused"),
    "number": (lambda t: "1\n", "refused"),
    "Markdown": (lambda t: f"```yaml\n{t}```\n", "refused"),
    "Latin-1": (lambda t: f"# \xe9\n{t}".encode("latin-1", "replace"), "refused"),
    "UTF-16": (lambda t: t.encode("utf-16"), "refused"),
    "zero byte": (lambda t: t + "\x00", "refused"),
    "control character": (lambda t: t + "\x1b[31m\n", "refused"),
    "binary": (lambda t: bytes(range(256)), "refused"),
    "cut": (lambda t: t[: len(t) * 2 // 3], None),
}


# --- making and judging --------------------------------------------------------------------------


@functools.cache
def shipped(folder: Path) -> list[dict[str, Any]]:
    """Content of the shipped studies; that for one's own data has a file."""
    data = folder / "good.jsonl"
    if not data.exists():
        folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"prompt": f"Say {i}", "response": "ok" * i}) for i in range(1, 25))
        data.write_text("\n".join(lines))
    studies = []
    for path in sorted((front_door.ROOT / "config/studies").glob("*.yaml")):
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        for domain in study["domains"]:
            if "path" in domain:
                domain["path"] = str(data)
        studies.append(study)
    return studies


def change(study: dict[str, Any], rng: random.Random) -> Change:
    """Change a study in place."""
    return rng.choice(VALUES)(study, rng)


def make(folder: Path, seed: int, i: int, studies: Sequence[dict[str, Any]]) -> StudyInput:
    """Write the i-th study: every fifth has a changed text, the others a changed value."""
    rng = random.Random(f"{seed} studies {i}")
    study = copy.deepcopy(rng.choice(studies))
    stem = study["study"]
    path = folder / f"{i:04d}" / f"{stem}.yaml"
    path.parent.mkdir(parents=True)
    text_number, kind = divmod(i, 5)
    if kind == 4:
        how = list(TEXT)[text_number % len(TEXT)]
        change_text, expected = TEXT[how]
        text = change_text(yaml.safe_dump(study, sort_keys=False, default_flow_style=None))
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return StudyInput(f"{stem}: {how}", path, (path.name,), expected)
    place, expected, how, value = change(study, rng)
    path.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
    key = next((key for key in reversed(place) if isinstance(key, str)), "")
    named = shown(key), ".".join(map(str, place[:-1])) or path.name, f"{path.name}: line "
    name = f"{stem}: {'.'.join(map(str, place))[:60]} {how}"
    return StudyInput(name, path, named, expected, place, value)


def shown(key: str) -> str:
    """The part of a key that a message must show: its beginning as ``repr`` writes it."""
    return repr(key)[1:-1][:20].strip()


def inputs(folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[StudyInput]:
    """Write the studies with these numbers."""
    studies = shipped(folder)
    for i in numbers:
        yield make(folder, seed, i, studies)


def judge(one: StudyInput) -> Outcome:
    """Check a study and build its run table."""
    with front_door.project():
        for command in (("check", one.path), ("runs", "--study", one.path, "--out", "runs.csv")):
            outcome = front_door.say(*command, named=one.named, expected=one.expected)
            if outcome.kind != "accepted":
                return outcome
        if one.value not in (None, {}) and (other := misread(one)):  # {}: defaults
            return fault(f"accepted wrongly: {one.value!r:.50} is read as {other:.50}")
        return verdict(outcome, one.expected)


def misread(one: StudyInput) -> str | None:
    """What the changed value is read as, if it is another one."""
    try:
        found = _at(load_study(one.path).model_dump(mode="json"), one.place)
    except (LookupError, TypeError):  # derived or left out
        return None
    is_number = isinstance(found, int | float) and not isinstance(one.value, list | dict)
    same = found in (None, one.value) or str(found).lower() == str(one.value).lower()
    return None if same or (is_number and found == float(one.value)) else repr(found)
