"""Reference statistics: compared with float64, written batch by batch, refused when stale."""

import json
import math
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff import cli
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.random_weights import byte_tokenizer
from sft_tradeoff.models.tokenized import TokenizedData, TokenizedExample
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.files import DamagedFileError, checksum_path
from sft_tradeoff.tokens.tokenize import tokenize_file
from sft_tradeoff.training import reference, token_loss
from sft_tradeoff.training.batching import collate
from sft_tradeoff.training.reference import (
    SCHEMA,
    ReferenceMismatch,
    load_reference_nll,
    median_sequence_nll,
    reference_hashes,
    reference_nll,
    reference_statistics,
    save_reference,
)

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@pytest.fixture
def data(jsonl, examples):
    return tokenize_file(byte_tokenizer(), jsonl(examples), 200)


@pytest.fixture
def data_path(data, tmp_path):
    data.save(tmp_path / "train.npz")
    return tmp_path / "train.npz"


@pytest.fixture
def hashes(data_path, random_model):
    return reference_hashes(data_path, random_model) | {"dtype": "float32"}


@pytest.fixture
def saved(random_model, data, hashes, tmp_path, monkeypatch):
    """A valid file of several row groups, and the statistics that it holds."""
    monkeypatch.setattr(reference, "BATCH_TOKENS", 200)
    batches = list(reference_statistics(load_model(random_model, torch.float32), data))
    save_reference(tmp_path / "reference.parquet", batches, hashes)
    return tmp_path / "reference.parquet", pa.Table.from_batches(batches)


def by_place(batches):
    """Column name -> values in the order of the tokens."""
    table = pa.Table.from_batches(batches).sort_by("token")
    return {name: table[name].to_numpy() for name in table.column_names}


def naive(model, data):
    """All columns in float64, from the full logits of one unpadded example after the other."""
    rows = []
    for sequence in range(len(data)):
        ids, mask = data.example(sequence)
        with torch.no_grad():
            logits = model(torch.tensor(ids[None].astype("int64"))).logits[0].double()
        for t in np.flatnonzero(mask):
            log_p = (logits[t - 1] - logits[t - 1].logsumexp(0)).tolist()
            own = log_p[ids[t]]
            entropy = -sum(math.exp(x) * x for x in log_p)
            n_likelier = sum(x > own for x in log_p)
            rows.append((sequence, data.offsets[sequence] + t, -own, entropy, 1 + n_likelier))
    return dict(zip(SCHEMA.names, map(np.array, zip(*rows, strict=True)), strict=True))


def test_statistics_equal_a_plain_computation(random_model, data):
    """In float64, so that the order of near-ties does not depend on the order of a sum."""
    model = load_model(random_model, torch.float64)
    found, expected = by_place(reference_statistics(model, data)), naive(model, data)
    assert np.array_equal(found["token"], np.flatnonzero(data.response_mask))
    for name in ("sequence", "token", "rank"):
        assert np.array_equal(found[name], expected[name]), name
    for name in ("nll", "entropy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, err_msg=name)
    assert len(set(found["rank"])) > 5 and found["rank"].max() > 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_nll_is_what_training_computes(random_model, data, dtype, monkeypatch):
    """Also in bfloat16, where logits are rounded but their log-softmax is not."""
    monkeypatch.setattr(reference, "BATCH_TOKENS", 10**6)
    model = load_model(random_model, DTYPES[dtype])
    batch = collate(data, np.argsort(-data.lengths, kind="stable"), 0, 0)
    with torch.no_grad():
        expected = token_loss.token_nll(model, batch)
    found = reference_nll(model, data)
    assert np.array_equal(~np.isnan(found), data.response_mask)
    np.testing.assert_allclose(found[batch.token], expected, rtol=0, atol=1e-6)


def test_cutting_into_batches_and_chunks_changes_nothing(random_model, data, monkeypatch):
    model = load_model(random_model, torch.float64)
    whole = by_place(reference_statistics(model, data))
    monkeypatch.setattr(reference, "BATCH_TOKENS", 150)
    monkeypatch.setattr(token_loss, "CHUNK", 7)
    cut = by_place(reference_statistics(model, data))
    for name, values in whole.items():
        np.testing.assert_allclose(cut[name], values, rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_head_of_zeros_is_uniform(random_model, data, dtype):
    """nll = entropy = ln V for every token, all of which tie for rank 1.

    In bfloat16 ln 259 = 5.557 would be 5.5625.
    """
    model = load_model(random_model, DTYPES[dtype])
    model.get_output_embeddings().weight.data.zero_()
    n_tokens = model.config.vocab_size
    for batch in reference_statistics(model, data):
        np.testing.assert_allclose(batch["nll"], math.log(n_tokens), rtol=2e-6)
        np.testing.assert_allclose(batch["entropy"], math.log(n_tokens), rtol=2e-6)
        assert set(batch["rank"].to_pylist()) == {1}


def test_logits_by_hand():
    """p = 1/2, 1/4, 1/4, 0: H = ½ ln 2 + 2·¼ ln 4 = 1.5 ln 2; the two that tie share rank 2.

    A token that the model excludes (logit −∞) takes nothing from the entropy.
    """
    logits = torch.tensor([0.5, 0.25, 0.25, 0.0]).log().expand(4, 4)
    found = reference._logit_statistics(logits, torch.arange(4))
    ln2 = math.log(2)
    assert found["nll"].tolist() == pytest.approx([ln2, 2 * ln2, 2 * ln2, math.inf])
    assert found["entropy"].tolist() == pytest.approx([1.5 * ln2] * 4)
    assert found["rank"].tolist() == [1, 2, 2, 4]


def test_logits_that_round_to_one_probability_keep_their_ranks():
    """Next to 2²⁰ the normalizer absorbs the difference of 1e-3 and 2e-3; ranks stay correct."""
    logits = torch.tensor([[1e-3, 2e-3, 2.0**20]]).expand(3, 3)
    assert len(set(logits[0].log_softmax(0).tolist())) == 2
    assert reference._logit_statistics(logits, torch.arange(3))["rank"].tolist() == [3, 2, 1]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=5))
def test_rank_and_entropy_of_logits_with_ties(rows):
    logits = torch.tensor(rows, dtype=torch.float32)
    for label in range(4):
        found = reference._logit_statistics(logits, torch.full((len(rows),), label))
        for i, row in enumerate(rows):
            p = [math.exp(x) / sum(map(math.exp, row)) for x in row]
            assert found["rank"][i] == 1 + sum(x > row[label] for x in row)
            assert found["nll"][i].item() == pytest.approx(-math.log(p[label]), abs=2e-6)
            expected = sum(-x * math.log(x) for x in p)
            assert found["entropy"][i].item() == pytest.approx(expected, abs=2e-6)


def test_a_broken_model_is_refused(random_model, data):
    model = load_model(random_model, torch.float32)
    model.get_output_embeddings().weight.data[0, 0] = math.nan
    with pytest.raises(UserError, match=r"example \d+: θ0's loss is nan"):
        reference_nll(model, data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU (make test-gpu)")
def test_a_gpu_gives_the_same(random_model, data):
    expected = by_place(reference_statistics(load_model(random_model, torch.float32), data))
    model = load_model(random_model, torch.float32).to("cuda")
    found = by_place(reference_statistics(model, data))
    np.testing.assert_allclose(found["nll"], expected["nll"], rtol=1e-3)
    np.testing.assert_allclose(found["entropy"], expected["entropy"], rtol=1e-3)


def test_file_gives_back_what_was_computed(saved, random_model, data, data_path):
    path, table = saved
    found = pq.read_table(path)
    assert found.equals(table)
    assert found.schema.equals(SCHEMA)
    nll = load_reference_nll(path, data_path, random_model, "float32")
    assert nll.dtype == np.float32 and nll.shape == data.input_ids.shape
    assert np.array_equal(~np.isnan(nll), data.response_mask)
    assert np.array_equal(nll[table["token"]], table["nll"])


def test_every_batch_is_a_row_group(saved):
    path, table = saved
    file = pq.ParquetFile(path)
    n_rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(n_rows) > 5
    assert n_rows == [len(chunk) for chunk in table["token"].chunks]


def test_forward_passes_wait_for_the_reader(random_model, data, monkeypatch):
    """One batch requested, one forward pass; the progress bar does not exhaust the generator."""
    monkeypatch.setattr(reference, "BATCH_TOKENS", 200)
    model = load_model(random_model, torch.float32)
    calls = []
    model.base_model.register_forward_hook(lambda *_: calls.append(1))
    statistics = reference_statistics(model, data)
    assert not calls
    next(statistics)
    assert len(calls) == 1
    n_batches = 1 + len(list(statistics))
    assert len(calls) == n_batches > 5


def some_batch(first, n_rows=1000):
    rng = np.random.default_rng(first)
    columns = {
        "sequence": np.zeros(n_rows, np.int32),
        "token": np.arange(first, first + n_rows),
        "nll": rng.random(n_rows, np.float32),
        "entropy": rng.random(n_rows, np.float32),
        "rank": np.ones(n_rows, np.int32),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA), weakref.ref(columns["nll"])


def test_batches_are_written_and_forgotten_as_they_come(tmp_path):
    """When a batch is requested, all but the last are on disk and out of memory."""
    alive, sizes, arrays = [], [], []

    def batches():
        for i in range(30):
            alive.append(sum(array() is not None for array in arrays))
            sizes.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            batch, array = some_batch(1000 * i)
            arrays.append(array)
            yield batch
            del batch

    save_reference(tmp_path / "reference.parquet", batches(), {})
    assert max(alive) <= 1
    assert min(np.diff(sizes)) > 4000  # at least a thousand float32


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_computation_leaves_no_file(tmp_path, error):
    def batches():
        yield some_batch(0)[0]
        assert list(tmp_path.iterdir())
        raise error

    with pytest.raises(error):
        save_reference(tmp_path / "reference.parquet", batches(), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["data_sha256", "model_sha256", "dtype"])
def test_statistics_of_something_else_are_refused(saved, hashes, random_model, data_path, name):
    path, table = saved
    save_reference(path, table.to_batches(), hashes | {name: "other"})
    expected = rf"reference\.parquet: {name} is other, the run has {hashes[name]}; delete the file"
    with pytest.raises(ReferenceMismatch, match=expected):
        load_reference_nll(path, data_path, random_model, "float32")


def test_changed_data_are_seen(saved, random_model, data, data_path):
    """The path now holds other tokens: the checksum is of the content, not the name."""
    data.input_ids[-1] += 1
    data.save(data_path)
    with pytest.raises(ReferenceMismatch, match="data_sha256"):
        load_reference_nll(saved[0], data_path, random_model)


def test_any_type_will_do_if_none_is_asked_for(saved, random_model, data_path):
    load_reference_nll(saved[0], data_path, random_model)
    with pytest.raises(ReferenceMismatch, match="dtype is float32, the run has bfloat16"):
        load_reference_nll(saved[0], data_path, random_model, "bfloat16")


def test_another_format_is_refused(saved, random_model, data_path, monkeypatch):
    monkeypatch.setattr(reference, "FORMAT_VERSION", 99)
    with pytest.raises(ReferenceMismatch, match="format_version is 1, the run has 99"):
        load_reference_nll(saved[0], data_path, random_model)


def test_a_strangers_parquet_file_is_refused(saved, random_model, data_path):
    path, table = saved
    pq.write_table(table.replace_schema_metadata(None), path)
    checksum_path(path).unlink()
    with pytest.raises(ReferenceMismatch, match="format_version is None"):
        load_reference_nll(path, data_path, random_model)


def rewritten(path, change):
    """Change the table in a file and keep its metadata."""
    table = pq.read_table(path)
    metadata = pq.ParquetFile(path).schema_arrow.metadata
    pq.write_table(change(table).replace_schema_metadata(metadata), path)
    checksum_path(path).unlink()


@pytest.mark.parametrize("column", SCHEMA.names)
def test_a_missing_column_is_refused(saved, random_model, data_path, column):
    rewritten(saved[0], lambda table: table.drop_columns(column))
    with pytest.raises(ReferenceMismatch, match=r"reference\.parquet: columns is .*delete the"):
        load_reference_nll(saved[0], data_path, random_model)


def test_a_column_of_another_type_is_refused(saved, random_model, data_path):
    wide = pa.schema([*list(SCHEMA)[:-1], ("rank", pa.int64())])
    rewritten(saved[0], lambda table: table.cast(wide))
    with pytest.raises(ReferenceMismatch, match=r"columns is .*'rank': 'int64'"):
        load_reference_nll(saved[0], data_path, random_model)


def test_a_file_that_lacks_tokens_is_refused(saved, random_model, data, data_path):
    n_tokens = int(data.response_mask.sum())
    rewritten(saved[0], lambda table: table.slice(1))
    expected = f"n_tokens is {n_tokens - 1}, the run has {n_tokens}"
    with pytest.raises(ReferenceMismatch, match=expected):
        load_reference_nll(saved[0], data_path, random_model)


@pytest.mark.parametrize("content", [b"", b"sequence,token,nll\n0,1,2\n", b"PAR1" + bytes(99)])
def test_what_is_not_parquet_is_refused(saved, random_model, data_path, content):
    path, _ = saved
    checksum_path(path).unlink()
    path.write_bytes(content)
    expected = r"reference\.parquet: not a whole parquet file .*; delete the file and run"
    with pytest.raises(ReferenceMismatch, match=expected):
        load_reference_nll(path, data_path, random_model)


def test_a_damaged_file_is_refused(saved, random_model, data_path):
    path, _ = saved
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match=r"reference\.parquet is not .*; delete it and run"):
        load_reference_nll(path, data_path, random_model)


def example(*mask):
    return TokenizedExample("e", [1] * len(mask), [bool(m) for m in mask], False)


def test_median_of_sequence_means_by_hand():
    """Means of the supervised tokens: 2, 10, 3 and none; median 3 (over tokens it would be 4).

    With a fifth example of mean 4 it is (3 + 4) / 2.
    """
    nan = math.nan
    parts = [example(0, 1, 1, 1), example(0, 0, 1), example(0, 1, 1), example(0, 0)]
    nll = [nan, 0, 1, 5, nan, nan, 10, nan, 2, 4, nan, nan]
    data = TokenizedData.from_examples(parts)
    assert median_sequence_nll(data, np.array(nll, np.float32)) == 3.0
    data = TokenizedData.from_examples([*parts, example(0, 1)])
    assert median_sequence_nll(data, np.array([*nll, nan, 4], np.float32)) == 3.5


def test_command_line(random_model, data, data_path, tmp_path, monkeypatch, capsys):
    """Writes a file that loads, in the dtype asked for, and logs how easy the data are for θ0."""
    out = tmp_path / "new" / "reference.parquet"
    command = f"reference --base-model {random_model} --data {data_path} --out {out}"
    cli.main(command.split())
    nll = load_reference_nll(out, data_path, random_model, "bfloat16")
    expected = reference_nll(load_model(random_model, torch.bfloat16), data)
    assert np.array_equal(nll, expected, equal_nan=True)
    n_tokens, median = int(data.response_mask.sum()), np.nanmedian(nll)
    summary = f"{n_tokens} tokens, median nll {median:.3f}, 0 % with p > 0.5"
    assert capsys.readouterr().err.count(summary) == 1


def test_the_file_says_in_which_type_it_was_computed(
    random_model, data_path, tmp_path, slow_bfloat16
):
    """It serves a study in bfloat16, which this processor would have trained in float32, too."""
    out = tmp_path / "reference.parquet"
    cli.main(f"reference --base-model {random_model} --data {data_path} --out {out}".split())
    load_reference_nll(out, data_path, random_model, "bfloat16")
    facts = json.loads(pq.read_schema(out).metadata[b"reference"])
    assert (facts["dtype"], facts["computed_in"]) == ("bfloat16", "float32")
