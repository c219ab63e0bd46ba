"""The user's model: found, checked without reading its weights, or refused with a fix."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.chat import render_prompt
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.load import load_model
from sft_tradeoff.models.spec import ModelSpec, built_model
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.planning import own_template
from sft_tradeoff.planning.own import own_study
from sft_tradeoff.planning.own_model import find_model, template_variables
from sft_tradeoff.planning.own_template import write_study
from sft_tradeoff.study.config import load_study
from sft_tradeoff.system.console import UserError
from sft_tradeoff.system.strict_yaml import read_yaml
from tests.unit.models.conftest import SIZES, edit
from tests.unit.models.test_gguf import llama
from tests.unit.models.test_gguf import write as write_gguf

MODEL = "random-2layer"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "someone/base", "r": 8}


@pytest.fixture
def folder(random_model: Path, tmp_path: Path) -> Path:
    """The user's model folder, which a test may change."""
    ours = shutil.ignore_patterns("*MODEL.json*")
    return Path(shutil.copytree(random_model, tmp_path / "net", ignore=ours))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [{"prompt": f"Question {i}?", "response": f"Reply {i}"} for i in range(50)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "d.jsonl"


def refusal(model: Path | str, **options: Any) -> str:
    """The message, which never advises to delete what is the user's or to try in vain."""
    with pytest.raises(UserError) as caught:
        find_model(str(model), **options)
    text = str(caught.value)
    assert "delete" not in text and "same command again" not in text, text
    return text


# --- variables of the chat template ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("enable_thinking=false", {"enable_thinking": False}),
        ("a = True, date_string=26 Jul 2024", {"a": True, "date_string": "26 Jul 2024"}),
        ("budget=0, most=-512, code=007", {"budget": 0, "most": -512, "code": "007"}),
        ('{"budget": 0, "year": "2024"}', {"budget": 0, "year": "2024"}),
        ('{"enable_thinking": false, "x": "a, b"}', {"enable_thinking": False, "x": "a, b"}),
    ],
)
def test_variables_of_the_chat_template(text: str, values: dict[str, Any]) -> None:
    assert template_variables(text) == values


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "a=",
        "=a",
        "a b=c",
        "a=1, a=2",
        "{",
        '{"a": 1.5}',
        '{"a": [true]}',
        '{"a": "b", "a": "c"}',
    ],
)
def test_variables_that_are_not_understood(text: str) -> None:
    with pytest.raises(UserError, match="write name=value"):
        template_variables(text)


def test_variables_make_another_model(
    data: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the study file and in the built model, and change its name."""
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text("{{ 'Be ' + mood }} " + template)
    study = own_study(data, str(folder), chat_template_args="mood=kind")
    (name,) = study["models"]
    entry = study["model_catalogue"][name]
    assert entry["chat_template_args"] == {"mood": "kind"}
    assert find_model(str(folder), {"mood": "cross"}).name != name
    built = built_model(tmp_path, name)
    build_model(name, ModelSpec(**entry), folder, built)
    assert render_prompt(load_tokenizer(built), {"prompt": "Hi"}).startswith("Be kind <s>[USER] Hi")
    assert write_study(study, tmp_path).is_file(), "the same command continues"
    assert "does not read the variable 'modo'" in refusal(folder, variables={"modo": "x"})
    # a word of its texts; and what each rendering gives it
    assert "does not read the variable 'Be'" in refusal(folder, variables={"Be": "x"})
    given = refusal(folder, variables={"add_generation_prompt": False})
    assert "is set for every prompt; remove it" in given


def test_variables_of_a_catalogue_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked as soon as the model is in the cache; before, its template is not known."""
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))
    found = find_model(MODEL, {"mood": "kind"})
    assert found.name.startswith(f"{MODEL}-") and found.window is None
    entry = found.entries["model_catalogue"][found.name]
    assert entry["chat_template_args"] == {"mood": "kind"}
    shutil.copytree(folder, built_model(tmp_path / "cache", MODEL))
    with pytest.raises(UserError, match="does not read the variable 'mood'; correct its name"):
        find_model(MODEL, {"mood": "kind"})
    assert find_model(MODEL).window == 2048


# --- where the model is ---------------------------------------------------------------------


def test_a_folder_in_the_study_file(data: Path, random_model: Path, tmp_path: Path) -> None:
    study = own_study(data, str(random_model))
    parsed = load_study(write_study(study, tmp_path))
    (name,) = parsed.models
    assert parsed.assets[name].path == str(random_model)  # type: ignore[union-attr]
    assert parsed.model_catalogue[name].format == "safetensors"


def test_the_same_model_in_another_folder_has_the_same_identity(
    folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    link = tmp_path / "link"
    link.symlink_to(folder)
    models = [find_model(str(path)) for path in (folder, other, link)]
    assert len({model.identity for model in models}) == 1
    edit(folder / CONFIG, initializer_range=0.5)
    assert find_model(str(folder)).identity != models[0].identity


def test_a_path_without_a_model(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / CONFIG).symlink_to(CONFIG)
    cases = {
        "smolm2-135m-instruct": "did you mean 'smollm2-135m-instruct'",
        "meta-llama/Llama-3.2-1B": "hf download OWNER/NAME --local-dir FOLDER",
        str(empty): "has no config.json; give the folder that save_pretrained wrote",
        str(folder / CONFIG): "is a file; give the folder",
        str(broken): "is a link to a file that is not there",
        str(tmp_path): f"has no config.json itself; give the folder in it: {folder}",
    }
    for model, words in cases.items():
        assert words in refusal(model)


@pytest.fixture
def hub_cache(folder: Path, tmp_path: Path) -> Path:
    """A model as the hub's client caches it: links to files that are named by their hash."""
    root = tmp_path / "hub/models--someone--net"
    snapshot = root / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    for i, path in enumerate(folder.iterdir()):
        path.rename(root / "blobs" / str(i))
        (snapshot / path.name).symlink_to(f"../../blobs/{i}")
    return root


def test_a_model_in_the_hubs_cache(hub_cache: Path, tmp_path: Path) -> None:
    snapshot = hub_cache / "snapshots/0123abc"
    assert f"give the folder in it: {snapshot}" in refusal(hub_cache)
    name = find_model(str(snapshot)).name
    assert name.startswith("0123abc-")
    build_model(name, ModelSpec(asset="net"), snapshot, tmp_path / "out")
    load_model(tmp_path / "out", torch.float32)
    assert not (tmp_path / "out" / CONFIG).is_symlink()


def test_a_gguf_file(data: Path, tmp_path: Path) -> None:
    """Given itself, or as a folder; its window is that of its header."""
    files = [write_gguf(tmp_path / f"{name}.gguf", llama()) for name in ("net", "other")]
    (tmp_path / "one").mkdir()
    shutil.move(files[1], tmp_path / "one")
    found = find_model(str(files[0]))
    assert found.window == 512 and find_model(str(tmp_path / "one")).window == 512
    renamed = shutil.copy(files[0], tmp_path / "again.gguf")
    assert find_model(str(renamed)).identity == found.identity
    study = own_study(data, str(files[0]))
    for _ in range(2):
        parsed = load_study(write_study(study, tmp_path / "studies"))
    spec = parsed.model_catalogue[found.name]
    assert parsed.assets[found.name].path == str(files[0])  # type: ignore[union-attr]
    build_model(found.name, spec, files[0], tmp_path / "out")
    load_model(tmp_path / "out", torch.float32)


def test_gguf_files_that_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = [write_gguf(folder / f"{i}.gguf", llama(), lambda f: f.add_uint16("split.count", 2))
             for i in range(2)]  # fmt: skip
    assert f"has 2 GGUF files; give one of them: {parts[0]}, {parts[1]}" in refusal(folder)
    assert "is one of 2 parts; join them with 'llama-gguf-split --merge'" in refusal(parts[0])
    bare = write_gguf(tmp_path / "bare.gguf", llama(), template="")
    assert "bare.gguf has no chat template; use the model's safetensors folder" in refusal(bare)
    os.truncate(bare, 100)
    assert "bare.gguf cannot be read as a GGUF model" in refusal(bare)


# --- files of the folder --------------------------------------------------------------------


def to_pipe(folder: Path) -> None:
    os.mkfifo(folder / "extra.json")


def to_loop(folder: Path) -> None:
    (folder / "extra.json").symlink_to("extra.json")


def to_link_out(folder: Path) -> None:
    (folder.parent / "secret").write_text("{}")
    (folder / "extra.json").symlink_to("../secret")


def to_list(folder: Path) -> None:
    (folder / CONFIG).write_text("[1]")


def to_no_json(folder: Path) -> None:
    (folder / CONFIG).write_text('{"model_type": ')


def to_latin1(folder: Path) -> None:
    (folder / CONFIG).write_bytes('{"é": 1}'.encode("latin-1"))


def to_index(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-1.safetensors")
        (folder / INDEX).write_text(text)

    return change


def to_other_name(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "consolidated.safetensors")


def to_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def to_truncated(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 2000)


def to_dangling(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("gone")


def to_folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def to_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def to_no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def to_damaged(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("{")  # type: ignore[return-value]


def to_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / CONFIG, **changes)


def to_settings(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "generation_config.json", **changes)


def to_words(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "tokenizer_config.json", **changes)


QUANTIZED = {"quant_method": "gptq", "bits": 4}
FOLDERS = [
    (to_pipe, r"extra\.json is not a regular file but a pipe"),
    (to_loop, r"extra\.json is not a regular file but .* a link to nothing; remove it"),
    (to_link_out, r"extra\.json is a link out of the folder, to .*/secret; put the file itself"),
    (to_list, r"config\.json holds a list, not an object"),
    (to_no_json, r"config\.json is not JSON \(Expecting value"),
    (to_latin1, r"config\.json is not JSON \('utf-8' codec"),
    (to_index("{}"), r"index\.json: 'weight_map' must give the file .*, but there is none"),
    (to_index("[]"), r"index\.json holds a list"),
    (to_index("x"), r"index\.json is not JSON"),
    (to_index('{"weight_map": {"a": "../../x"}}'), r"'\.\./\.\./x' is no file of this folder"),
    (to_index('{"weight_map": {"a": "b.safetensors"}}'), r"b\.safetensors is missing; copy or"),
    (to_other_name, r"the folder has consolidated\.safetensors; rename the file, or add"),
    (to_pickle, r"pickled \(pytorch_model\.bin\) and pickles can run code; .* save_pretrained"),
    (to_truncated, r"model\.safetensors is damaged or truncated .*; copy or download the model"),
    (to_dangling, r"model\.safetensors is a link to a file that is not there; copy or download"),
    (
        to_folder,
        r"model\.safetensors is a folder, a pipe or a device, not a file; copy or download",
    ),
    (to_no_tokenizer, r"has no tokenizer; copy tokenizer\.json, .* from the model that it was"),
    (to_no_template, r"no chat template; put one \(Jinja\), such as"),
    (to_damaged("tokenizer_config.json"), r"tokenizer_config\.json is not JSON"),
    (to_damaged("tokenizer.json"), r"cannot load its tokenizer: .*; copy or save its files again"),
    (to_damaged("generation_config.json"), r"generation_config\.json is not JSON"),
    (to_config(num_attention_heads=5), r"config\.json: Transformers cannot read it|shape"),
    (to_config(hidden_size=-4), r"check that config\.json and the weights belong together"),
    (to_config(vocab_size=-1), r"check that config\.json and the weights belong together"),
    (to_config(text_config=3), r"cannot read it: TypeError: text_config is 3, not an object"),
    (to_config(architectures={"a": 1}, num_hidden_layers=10**12), r"10{12} layers, .* only 20 ten"),
    (to_settings(eos_token_id={}), r"generation_config\.json: .* eos_token_id is {}, not a"),
    (
        to_settings(eos_token_id="</s>"),
        r"generation_config\.json: .* eos_token_id is '</s>', not a",
    ),
    (
        to_settings(cache_implementation="x"),
        r"generation_config\.json: Transformers cannot read it",
    ),
    (to_words(model_max_length="x"), r"model_max_length in tokenizer_config\.json is 'x', not a n"),
    (to_config(quantization_config=QUANTIZED), r"quantized \(quantization_config: gptq\)"),
    (to_config(quantization_config="awq"), r"quantized \(quantization_config: awq\)"),
    (to_config(model_type="own", auto_map={"AutoConfig": "a.B"}), r"Python code .* never runs"),
    (to_config(model_type="nosuch"), r"config\.json: Transformers cannot read it: .*nosuch"),
]


@pytest.mark.parametrize(("change", "words"), FOLDERS)
def test_a_folder_that_cannot_be_used(
    change: Callable[[Path], None], words: str, folder: Path
) -> None:
    change(folder)
    text = refusal(folder)
    assert re.search(words, text), text
    assert str(folder) in text


def test_weights_of_a_wrapper(folder: Path) -> None:
    """As torch.compile names them; each would be drawn at random."""
    renamed = {f"_orig_mod.{name}": t for name, t in load_file(folder / WEIGHTS).items()}
    save_file(renamed, folder / WEIGHTS, metadata={"format": "pt"})
    assert "_orig_mod." in refusal(folder)


@pytest.mark.parametrize("name", ["qweight", "weight_scale_inv", "weight_packed"])
def test_quantized_weights_without_a_word_in_the_configuration(folder: Path, name: str) -> None:
    weights = load_file(folder / WEIGHTS)
    packed = {f"model.layers.0.mlp.up_proj.{name}": torch.ones(2, dtype=torch.int32)}
    save_file(weights | packed, folder / WEIGHTS, metadata={"format": "pt"})
    assert "the weights are quantized and cannot be trained" in refusal(folder)


def test_an_adapter_alone_names_its_base(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    for _ in range(2):  # with and without a configuration
        text = refusal(folder)
        assert "merge it into its base model (someone/base)" in text and "merge_and_unl" in text
        (folder / CONFIG).unlink(missing_ok=True)


def test_a_leftover_adapter_is_ignored(
    folder: Path, random_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Transformers would load it on top of the weights, which contain it."""
    plain = find_model(str(folder)).identity
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | {"target_modules": ["x"]}))
    assert find_model(str(folder)).identity == plain
    assert "adapter_config.json is ignored" in caplog.text
    build_model("net", ModelSpec(asset="net"), folder, tmp_path / "out")
    assert not (tmp_path / "out/adapter_config.json").exists()
    expected = load_model(random_model, torch.float32).state_dict()
    found = load_model(tmp_path / "out", torch.float32).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


# --- architectures --------------------------------------------------------------------------


def save_other(folder: Path, model: Any) -> None:
    """Replace the folder's model, but not its tokenizer."""
    for name in (CONFIG, WEIGHTS, "generation_config.json"):
        (folder / name).unlink()
    model.save_pretrained(folder)


SMALL = SIZES | {"vocab_size": 259, "eos_token_id": 257, "max_position_embeddings": 64}
T5 = {"vocab_size": 259, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
BART = {"vocab_size": 259, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64}
OTHERS = [
    ("t5", "AutoModelForSeq2SeqLM", T5, "T5ForConditionalGeneration is an encoder-decoder"),
    ("bart", "AutoModelForSeq2SeqLM", BART, "BartForConditionalGeneration is an encoder-decoder"),
    ("bert", "AutoModelForMaskedLM", SMALL, "BertForMaskedLM reads text in both directions"),
    ("roberta", "AutoModel", SMALL, "RobertaModel reads text in both directions"),
    ("llama", "AutoModelForSequenceClassification", SMALL, "scores texts and writes none"),
    ("bert", "AutoModelForTokenClassification", SMALL, "scores texts and writes none"),
]


@pytest.mark.parametrize(("kind", "head", "sizes", "words"), OTHERS)
def test_what_is_no_causal_language_model(
    kind: str, head: str, sizes: dict[str, Any], words: str, folder: Path
) -> None:
    import transformers

    config = AutoConfig.for_model(kind, **sizes)
    save_other(folder, getattr(transformers, head).from_config(config))
    text = refusal(folder)
    assert words in text and re.search(
        "only causal language models are trained here[:;] (use|choose)", text
    )


@pytest.mark.parametrize("kind", ["cohere", "gemma2", "granite", "mamba", "gpt2"])
def test_architectures_that_can_be_used(kind: str, folder: Path) -> None:
    sizes = SMALL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "head_dim": 8}
    if kind == "mamba":
        del sizes["max_position_embeddings"]
    config = AutoConfig.for_model(kind, **sizes)
    save_other(folder, AutoModelForCausalLM.from_config(config))
    assert find_model(str(folder)).window == (None if kind == "mamba" else 64)


# --- tokens and template --------------------------------------------------------------------

TEMPLATES = {
    "{% for m in messages %}{{ m.content }": "TemplateSyntaxError",
    "{% for m in messages %}{{ m.content + nosuch.x }}{% endfor %}": "UndefinedError",
    "{{ raise_exception('a system turn comes first') }}": "a system turn comes first",
    "{% for i in range(10 ** 9) %}{% endfor %}": "OverflowError",
    "{{ messages.__class__.__mro__ }}": "SecurityError",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_cannot_be_rendered(template: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    text = refusal(folder)
    assert TEMPLATES[template] in text and "\n" not in text
    assert (
        str(folder) in text and f"put a corrected one into {folder / 'chat_template.jinja'}" in text
    )


def test_a_token_without_a_row(folder: Path) -> None:
    """The tokenizer has 260 tokens, the model 259 rows."""
    edit(folder / "tokenizer_config.json", eos_token="<|im_end|>")
    text = refusal(folder)
    assert "embeddings for 259 tokens, but '<|im_end|>' has the id 259 in the tokenizer" in text
    assert "which has 260" in text and "resize_token_embeddings" in text


def test_more_rows_than_tokens_are_usual(folder: Path) -> None:
    """Rows are often padded to a multiple of 64."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(320)
    model.save_pretrained(folder)
    find_model(str(folder))


# --- the study and the model ----------------------------------------------------------------


@pytest.fixture
def narrow(folder: Path) -> Path:
    edit(folder / CONFIG, max_position_embeddings=512)
    return folder


def test_limits_follow_the_models_window(
    data: Path, narrow: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sft_tradeoff")
    path = write_study(own_study(data, str(narrow)), tmp_path)
    study = load_study(path)
    assert (study.training.max_length, study.evaluation.max_length) == (512, 512)
    assert (
        "the model reads 512 tokens at most: training.max_length (768) and evaluation.max_length "
        "(1024) lowered to this number" in caplog.text
    )
    assert "max_length: 512  # tokens of prompt and response" in path.read_text()


def test_limits_beyond_the_window_are_refused(data: Path, narrow: Path, tmp_path: Path) -> None:
    path = write_study(own_study(data, str(narrow)), tmp_path)
    path.write_text(path.read_text().replace("max_length: 512  # tok", "max_length: 600  # tok"))
    with pytest.raises(UserError, match=r"training\.max_length: 600 exceeds .* lower it to 512"):
        write_study(own_study(data, str(narrow)), tmp_path)


def test_data_that_exceed_the_window(narrow: Path, tmp_path: Path) -> None:
    """No limit can be raised then."""
    lines = [{"prompt": f"{i} {'x' * 600}", "response": "y"} for i in range(20)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(
        UserError, match=r"or take a model that reads 6\d\d tokens \(this one reads 512\)"
    ):
        write_study(own_study(tmp_path / "d.jsonl", str(narrow)), tmp_path / "studies")


@pytest.fixture
def with_lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = read_yaml(own_template.TEMPLATE) | {"methods": [{"name": "lora"}]}
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(template | {"learning_rates": {"adapter": [1e-4]}})
    )
    monkeypatch.setattr(own_template, "TEMPLATE", tmp_path / "own.yaml")


@pytest.mark.usefixtures("with_lora")
def test_how_much_adapters_reach_is_said(
    data: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Linear layers: 2 · (64·(64 + 32 + 32 + 64) + 3·64·128) = 73,728 weights of 90,624.

    The rest is the embedding, 259 · 64, and five norms of 64.
    """
    caplog.set_level(logging.INFO, "sft_tradeoff")
    write_study(own_study(data, str(folder)), tmp_path / "studies")
    assert round(100 * 73728 / 90624) == 81
    assert "method lora has adapters in layers with 81 % of the weights of net-" in caplog.text


@pytest.mark.usefixtures("with_lora")
def test_a_method_that_cannot_train_the_model(data: Path, folder: Path, tmp_path: Path) -> None:
    save_other(folder, AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **SMALL)))
    with pytest.raises(UserError, match=r"own\.yaml: methods: 'lora': peft has no adapters for M"):
        write_study(own_study(data, str(folder)), tmp_path / "studies")
    assert not (tmp_path / "studies").exists()
