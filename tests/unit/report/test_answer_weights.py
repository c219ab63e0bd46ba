"""The stage that weighs the answers, on the random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_tradeoff import cli
from sft_tradeoff.analysis.answer_weights import read_answer_weights
from sft_tradeoff.system.files import atomic_write_text
from sft_tradeoff.system.records import read_jsonl

METHODS = [{"name": "talr"}, {"name": "eaft"}, {"name": "stm"}]


@pytest.fixture(scope="module")
def material(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Examples and tokens of esci; the arguments that name them."""
    folder = tmp_path_factory.mktemp("esci-label_only")
    spec = {"name": "esci", "variant": "label_only", "n_train": 12, "n_validation": 0, "n_test": 4}
    data, tokens = folder / "esci-label_only/train.jsonl", folder / "train.npz"
    cli.main(["build-domain", "--spec", json.dumps(spec), "--out", str(data.parent)])
    shared = ["--domain", "esci", "--data", str(data)]
    model = str(random_model)
    command = ["tokenize", "--model", model, *shared, "--max-length", "1000"]
    cli.main([*command, "--out", str(tokens)])
    return ["--base-model", model, *shared, "--tokens", str(tokens), "--batch-size", "4"]


def weigh(material: list[str], out: Path, methods: list[dict[str, str]], *more: str) -> str:
    command = ["answer-weights", *material, "--dtype", "float32", "--out", str(out)]
    cli.main([*command, "--methods", json.dumps(methods), *more])
    return out.with_suffix(".md").read_text()


def test_table_page_and_log(
    material: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random model finds all 259 bytes equally unlikely: a perplexity that stm masks."""
    page = weigh(material, tmp_path / "w.csv", METHODS)
    table = read_answer_weights(tmp_path / "w.csv").set_index("label")
    assert list(table.index) == ["talr", "eaft", "stm"]
    assert set(table["domain"]) == {"esci-label_only"} and set(table["n_answer_tokens"]) == {12}
    assert table["kept_theta0"]["talr"] == pytest.approx(1, abs=0.1)
    assert table["kept_form"]["talr"] < 0.1  # bytes of `<answer>` are soon known, the digit not
    assert page.startswith("# Weight of the answer: random-2layer, esci-label_only\n")
    assert "12 of 228 response tokens (5.3%) in 12 examples carry the answer." in page
    assert "| talr     | form learned |" in page
    error = capsys.readouterr().err
    for text in (page, error):
        assert "stm on esci-label_only (random-2layer): every token weighs 0" in text
        assert "talr on esci-label_only (random-2layer) gives the tokens of the answer" in text
        assert "eaft on" not in text


def test_statistics_of_the_study_give_the_same(material: list[str], tmp_path: Path) -> None:
    """And need no model, unless a method reads more than the losses."""
    tokens, model = material[7], material[1]
    reference = str(tmp_path / "reference.parquet")
    command = ["reference", "--base-model", model, "--data", tokens, "--dtype", "float32"]
    cli.main([*command, "--out", reference])
    read = ("--reference", reference)
    for methods in (METHODS[:1], METHODS):
        fresh = weigh(material, tmp_path / "fresh.csv", methods)
        assert weigh(material, tmp_path / "read.csv", methods, *read) == fresh


def test_changed_examples_are_refused(material: list[str], tmp_path: Path) -> None:
    data = tmp_path / "esci/train.jsonl"
    text = Path(material[5]).read_text()
    atomic_write_text(data, text, checksum=True)
    data.write_text(text.replace("Query", "query"))
    changed = [str(data) if argument == material[5] else argument for argument in material]
    with pytest.raises(SystemExit):
        weigh(changed, tmp_path / "w.csv", METHODS)
    assert not list(tmp_path.glob("w.*"))
    assert sum(1 for _ in read_jsonl(data)) == 12
