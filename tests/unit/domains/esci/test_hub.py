import logging

import pytest
from pyarrow import parquet
from pydantic import ValidationError

from sft_tradeoff.domains.esci.generated import score
from sft_tradeoff.domains.esci.hub import COLUMNS, LONGEST_FIELD, generate
from sft_tradeoff.domains.registry import domain_spec
from sft_tradeoff.system.records import RecordError
from tests.unit.domains.hub_files import esci_row, esci_rows, write_esci


def spec(**changes):
    sizes = {"n_train": 999, "n_validation": 4, "n_test": 6}
    return domain_spec(name="hub_esci", variant="label_only", **sizes | changes)


def ids(splits):
    return {split: [int(e.id.removeprefix("esci-")) for e in splits[split]] for split in splits}


def query(example):
    return example.prompt.split("Query: ")[1].split("\n")[0].lower()


@pytest.fixture
def source(tmp_path):
    return write_esci(tmp_path / "e", esci_rows())


def test_prompt_and_target_by_hand(tmp_path):
    text = "x" * (LONGEST_FIELD + 5)
    rows = [
        esci_row(1, "usb hub", "train", "Complement", product_description=f"Fast.\n{text}"),
        esci_row(2, "usb hub", "train", "S", product_title=None, product_bullet_point=" "),
        esci_row(3, "lamp", "test", product_color="red"),
    ]
    splits = generate(spec(n_validation=0, n_test=1), write_esci(tmp_path / "e", rows, shards=1))
    first, second = sorted(splits["train"], key=lambda example: example.id)
    assert first.prompt.startswith("Classify the product for the search query: 0 Exact")
    assert first.prompt.endswith(
        "\nQuery: usb hub\nTitle: Product 1\nBrand: Acme\nFeatures: light and small\n"
        f"Description: Fast. {text[: LONGEST_FIELD - 6]}\n"
        "Reply with the digit only, as <answer>digit</answer>."
    )
    assert first.response == "<answer>2</answer>" and first.meta == {
        "label": "Complement",
        "query_id": "7",
        "product_id": "B000000001",
        "cut": ["Description"],
    }
    assert splits.remarks[-1].endswith(": 1 of 2 in train, 0 of 0 in validation, 0 of 1 in test.")
    assert "Query: usb hub\nBrand: Acme\nReply" in second.prompt and second.answer == "1"
    assert "Brand: Acme\nColor: red\nFeatures" in splits["test"][0].prompt
    assert score(first.to_dict(), "<answer>2</answer>").correct
    assert not score(first.to_dict(), "<answer>1</answer>").correct


def test_splits_have_no_query_in_common_and_only_the_locale(source, caplog):
    """Pairs 2, 5, ..., 38 of 0 to 40 are Spanish: 28 are American, one with a query of the test."""
    with caplog.at_level(logging.WARNING):
        splits = generate(spec(), source)
    remark = "1 of 28 training rows (3.57%) are left out: their query is in the test split."
    assert remark in caplog.text and remark in splits.remarks
    american = {row["example_id"]: row for row in esci_rows() if row["product_locale"] == "us"}
    found = ids(splits)
    assert {american[i]["split"] for i in found["train"] + found["validation"]} == {"train"}
    assert {american[i]["split"] for i in found["test"]} == {"test"}
    queries = {split: {query(example) for example in splits[split]} for split in splits}
    assert queries["train"].isdisjoint(queries["validation"])
    assert "test query 0" not in queries["train"] | queries["validation"]
    assert (len(found["test"]), len(found["validation"])) == (6, 4)
    whole = [r for r in american.values() if r["query"] not in queries["validation"]]
    assert len(found["train"]) == sum(row["split"] == "train" for row in whole) - 1
    for split in splits.values():
        for example in split:
            row = american[int(example.id.removeprefix("esci-"))]
            assert row["esci_label"] == example.meta["label"] and query(example) == row["query"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<p>Soft &amp; <b>warm</b>.</p><BR/>Two&nbsp;pieces", "Soft & warm . Two pieces"),
        ("<ul class='a'><li>one</li>\n<li>two</li></ul>", "one two"),
        ("&lt;b&gt;big&lt;/b&gt; &amp;quot;M&amp;quot;", 'big "M"'),
        ("a<!-- hidden -->b<script>x = 1 < 2;</script>c", "a b c"),
        ("fits <6 in> phones, 5 < 6 > 4, I <3 it", "fits <6 in> phones, 5 < 6 > 4, I <3 it"),
        ("black&gold, R&D; &unknown; 10&deg;", "black&gold, R&D; &unknown; 10°"),
        ("a\x00b\x1b c\u200bd\ufeff\x7f \x85e", "ab cd e"),
        ("x " * 2000 + "<br>", ("x " * 500).strip() + " "),
    ],
)
def test_products_are_shown_as_in_a_browser(tmp_path, written, shown):
    rows = [
        esci_row(i, f"query {i}", split, product_description=written)
        for i, split in enumerate(("train", "test"))
    ]
    source = write_esci(tmp_path / "e", rows, shards=1)
    for examples in generate(spec(n_validation=0, n_test=1), source).values():
        assert all(f"\nDescription: {shown}\nReply" in example.prompt for example in examples)


def test_a_product_field_that_is_not_a_text_is_named(tmp_path):
    rows = [
        esci_row(i, f"q {i}", split, product_color=7) for i, split in ((0, "train"), (1, "test"))
    ]
    source = write_esci(tmp_path / "e", rows, shards=1)
    with pytest.raises(RecordError, match=r"row 1: 'product_color' is 7, not a text"):
        generate(spec(n_validation=0, n_test=1), source)


def test_products_that_are_trained_on_with_another_query_are_counted(tmp_path):
    """Among the drawn pairs: two of three test products are in the data, one is trained on."""
    rows = [esci_row(i, f"query {i}", "train", product_id=f"B{i}") for i in range(2)]
    rows += [esci_row(2 + i, f"test {i}", "test", product_id=f"B{i}") for i in range(3)]
    source = write_esci(tmp_path / "e", rows, shards=1)
    for n_train, n_shared in ((2, 2), (1, 1)):
        found = generate(spec(n_train=n_train, n_validation=0, n_test=3), source)
        assert f"{n_shared} of 3 test pairs have a product that is also" in found.remarks[2]
    found = generate(spec(n_validation=1, n_test=3), source)
    assert "0 of 2 training rows (0.00%) are left out: they share their query" in found.remarks[1]


def test_the_draw_depends_on_the_seed_and_not_on_how_rows_are_filed(tmp_path, source):
    other = write_esci(tmp_path / "other", esci_rows()[::-1], shards=3)
    assert generate(spec(), source) == generate(spec(), other)
    assert ids(generate(spec(seed=1), source))["test"] != ids(generate(spec(), source))["test"]
    few = generate(spec(n_train=5), source)["train"]
    assert few == generate(spec(), source)["train"][:5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"esci_label": "Exactly"}, "'esci_label' is 'Exactly', not one of Exact, Substitute"),
        ({"esci_label": None}, "'esci_label' is None, not a text"),
        ({"split": "dev"}, "'split' is 'dev', neither 'train' nor 'test'"),
        ({"query": " "}, "'query' is ' ', not a text"),
        ({"query": "\x00"}, "'query' is '\\x00', not a text"),
        (
            {"product_title": "", "product_bullet_point": None, "product_brand": None},
            "'product_title' is empty, and so is every other field",
        ),
    ],
)
def test_a_defect_is_named_by_file_row_and_column(tmp_path, changes, words):
    """The bad pair is the 2nd of the second file, because pairs alternate between two files."""
    rows = [esci_row(i, f"query {i}", "train") for i in range(3)]
    rows += [esci_row(3, "query 3", "train") | changes, esci_row(4, "other", "test")]
    source = write_esci(tmp_path / "e", [*rows, esci_row(5, "another", "test")])
    with pytest.raises(RecordError) as error:
        generate(spec(n_validation=0, n_test=1), source)
    assert str(error.value).startswith(f"{source}/default/train/0001.parquet, row 2: {words}")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    source = write_esci(tmp_path / "e", esci_rows())
    for path in source.rglob("*.parquet"):
        parquet.write_table(parquet.read_table(path).drop_columns([column]), path)
    with pytest.raises(RecordError, match=f"0000.parquet: no column '{column}', only"):
        generate(spec(), source)


def test_other_formats_are_refused(tmp_path):
    (tmp_path / "train.csv").touch(), (tmp_path / "test.csv").touch()
    with pytest.raises(RecordError, match=r"train\.csv: ESCI's files must be Parquet"):
        generate(spec(), tmp_path)


def test_there_is_no_chain_of_thought():
    with pytest.raises(ValidationError, match=r"labels but no explanations.*use variant: label_o"):
        domain_spec(name="hub_esci", variant="cot")
