"""Damaged results: every command that reads them names the file and what to do, in one line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sft_tradeoff import cli
from sft_tradeoff.system.files import checksum_path
from tests.finished_study import BASE, FLOOR, RUN

Study = tuple[Path, Path]
Change = Callable[[bytes], bytes]
NAN, INF = float("nan"), float("inf")


def commands(study_file: Path, results: Path) -> dict[str, list[str]]:
    """The commands that read results, as the workflow runs them."""
    runs, over_seeds = str(results / "runs"), str(results / "tradeoff_over_seeds.csv")
    table, out = str(results / "run_table.csv"), results.parent / "out"
    outputs = [f"--{name}={out / name}" for name in ("scores", "tradeoff", "over-seeds")]
    reads = ["--run-table", table, "--runs", runs]
    return {
        "aggregate": ["aggregate", *reads, *outputs],
        "recommend": ["recommend", *reads, "--tradeoff", over_seeds, "--out", str(out / "r.md")],
        "tables": ["tables", "--tradeoff", over_seeds, "--out-dir", str(out)],
        "figure": ["figure", "tradeoff", "--table", over_seeds, "--out-stem", str(out / "f")],
        "publish": [
            *("publish", "--study", str(study_file), "--results", str(results)),
            *("--out", str(results.parent / "published/tiny")),
        ],
    }


READERS = {
    "run_table.csv": ("aggregate", "recommend", "publish"),
    "tradeoff_over_seeds.csv": ("recommend", "tables", "figure", "publish"),
    "tradeoff.csv": ("publish",),
    "scores.csv": ("publish",),
    f"runs/{BASE}/eval.json": ("aggregate", "recommend", "publish"),
    f"runs/{RUN}/train.json": ("aggregate", "recommend", "publish"),
    f"runs/{RUN}/items.parquet": ("aggregate", "recommend", "publish"),
    FLOOR: ("aggregate", "recommend", "publish"),
    f"runs/{RUN}/answers.parquet": ("publish",),
}


def rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """A change of a table, of CSV or of Parquet."""

    def changed(content: bytes) -> bytes:
        if content.startswith(b"PAR1"):
            return bytes(change(pd.read_parquet(io.BytesIO(content))).to_parquet(index=False))
        return change(pd.read_csv(io.BytesIO(content))).to_csv(index=False).encode()

    return changed


def cells(**values: object) -> Change:
    """Other values in the first row of a table, or in all rows of Parquet, which has types."""

    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        first = [True] + [False] * (len(frame) - 1)
        for name, value in values.items():
            frame[name] = [
                value if new else old for new, old in zip(first, frame[name], strict=True)
            ]
        return frame

    return rows(changed)


def entry(*place: str, value: object) -> Change:
    """Another value in JSON."""

    def changed(content: bytes) -> bytes:
        record = json.loads(content)
        node = record
        for key in place[:-1]:
            node = node.setdefault(key, {})
        node[place[-1]] = value
        return json.dumps(record).encode()

    return changed


DAMAGES: dict[str, Change] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "not UTF-8": lambda content: b"\xff\xfe" + content,
}
OF_JSON: dict[str, Change] = {
    "null": lambda content: b"null",
    "list": lambda content: b"[]",
    "nested": lambda content: b"[" * 100_000,
    "parts": lambda content: b'{"run_info": [], "meta_info": [], "train_info": 1, "eval_info": 2}',
    "origin": entry("run_info", value="x"),
    "config": entry("run_info", "config", value=[1]),
    "packages": entry("meta_info", "packages", value=["numpy"]),
    "version": entry("meta_info", "packages", value={"numpy": 2}),
    "python": entry("meta_info", "python", value={}),
}
OF_EVALUATION: dict[str, Change] = {
    "no record": lambda content: b"{}",
    "domains": entry("run_info", "config", "domains", value=[{"label": 3}]),
    "tolerance": entry("run_info", "config", "domains", value=[{"label": "d", "tolerance": "x"}]),
    "checksums": entry("meta_info", "test_sha256", value="x"),
    "no checksums": entry("meta_info", "test_sha256", value={}),
    "truncated": entry("eval_info", "n_truncated", value={"d": 5}),
    "tasks": entry("eval_info", "tasks", value={"domain_d": {}}),
}
OF_TRAINING: dict[str, Change] = {
    "time": entry("train_info", "time_s", value="7 s"),
    "speed": entry("train_info", "tokens_per_s", value=True),
    "infinite": entry("train_info", "time_s", value=INF),
    "memory": entry("train_info", "peak_memory_bytes", value=-1),
    "truncated": entry("train_info", "n_truncated", value=3),
    "merge": entry("run_info", "config", "merge_of", value=3),
    "rounding": entry("train_info", "rounding", value={"norm_ratio": "large"}),
}
OF_ITEMS: dict[str, Change] = {
    "no rows": rows(lambda frame: frame.head(0)),
    "no column": rows(lambda frame: frame.drop(columns="metric")),
    "text": rows(lambda frame: frame.assign(value="x")),
    "lists": rows(lambda frame: frame.assign(value=[[1.0]] * len(frame))),
    "no size": cells(size=NAN),
    "infinite size": cells(size=INF),
    "negative size": cells(size=-1.0),
    "no name": cells(item=None),
    "numbers": rows(lambda frame: frame.assign(item=3)),
    "twice": rows(lambda frame: pd.concat([frame, frame.head(1)])),
}
OF_ANSWERS: dict[str, Change] = {
    "no column": rows(lambda frame: frame.drop(columns="correct")),
    "no name": cells(item=None),
    "not a truth": rows(lambda frame: frame.assign(correct="perhaps")),
    "twice": rows(lambda frame: pd.concat([frame, frame.head(1)])),
}
OF_TABLES: dict[str, Change] = {
    "no rows": rows(lambda frame: frame.head(0)),
    "only θ0": rows(lambda frame: frame.head(1)),
    "no column": rows(lambda frame: frame.drop(columns="method")),
    "text": rows(lambda frame: frame.assign(learning_rate="fast")),
    "no model": cells(model=None),
    "no method": cells(method=None),
    "no rate": rows(lambda frame: frame.assign(learning_rate=None)),
    "infinite": rows(lambda frame: frame.assign(learning_rate=INF)),
    "twice": rows(lambda frame: pd.concat([frame, frame.head(1)])),
    "more cells": lambda content: content + b"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n" * 2,
}
OF_RUN_TABLE: dict[str, Change] = {
    "no run": cells(run=None),
    "no domain": rows(lambda frame: frame.assign(domain=None)),
    "half a seed": rows(lambda frame: frame.assign(seed=0.5)),
    "large seed": rows(lambda frame: frame.assign(seed=1e300)),
}
OF_TRADEOFF: dict[str, Change] = {
    "text in a score": rows(lambda frame: frame.assign(domain_score="good")),
    "infinite score": rows(lambda frame: frame.assign(general_score=INF)),
    "no seeds": rows(lambda frame: frame.assign(n_seeds=None)),
}
CODE = ("code_length_code", "bits_per_byte")
OF_FLOOR: dict[str, Change] = {
    "null": lambda content: b"null",
    "list": lambda content: b"[]",
    "number": entry("code_length_code", value=0.1),
    "text": entry(*CODE, "floor", value="small"),
    "negative": entry(*CODE, "floor", value=-0.1),
    "infinite": entry(*CODE, "variants", value={"float32": INF}),
    "no variants": entry(*CODE, value={"floor": 0.1, "score": 2.5}),
    "more": entry(*CODE, "unit", value="bits"),
    "of other scores": entry(*CODE, "score", value=2.6),
}
SPECIAL = {
    "run_table.csv": OF_TABLES | OF_RUN_TABLE,
    "tradeoff_over_seeds.csv": OF_TABLES | OF_TRADEOFF,
    f"runs/{BASE}/eval.json": OF_JSON | OF_EVALUATION,
    f"runs/{RUN}/train.json": OF_JSON | OF_TRAINING,
    f"runs/{RUN}/items.parquet": OF_ITEMS,
    FLOOR: OF_FLOOR,
    f"runs/{RUN}/answers.parquet": OF_ANSWERS,
}
CASES = [
    pytest.param(name, change, id=f"{Path(name).name}-{damage}")
    for name in READERS
    for damage, change in (DAMAGES | SPECIAL.get(name, {})).items()
]


@pytest.mark.parametrize(("name", "change"), CASES)
def test_damage_is_one_line_with_the_file_and_the_fix(
    study: Study, name: str, change: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a checksum, which would find any change: of an older version, or lost in a copy."""
    path = study[1] / name
    assert not checksum_path(path).exists()
    content = path.read_bytes()
    path.write_bytes(change(content))
    for command in READERS[name]:
        with pytest.raises(SystemExit) as caught:
            cli.main(commands(*study)[command])
        errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert caught.value.code == 1 and len(errors) == 1, command
        assert str(path) in errors[0], (command, errors)
        fixes = ("delete it and run", "pass the table", "delete this file and run", "make study")
        fixes += ("evaluate this run again",)
        assert any(fix in errors[0] for fix in fixes), (command, errors)
        assert len(errors[0]) < 1000, command


def test_undamaged_results_are_read(study: Study) -> None:
    for arguments in commands(*study).values():
        cli.main(arguments)
