"""The date and the variables of chat templates, and where a user can correct one."""

import datetime

import pytest
import transformers.utils.chat_template_utils as template_utils

from sft_tradeoff.chat import ChatTemplateError, render_prompt
from sft_tradeoff.models.build import build_model
from sft_tradeoff.models.folder import ModelError, describe_weights
from sft_tradeoff.models.spec import ModelSpec
from sft_tradeoff.models.tokenization import tokenize_example
from sft_tradeoff.models.tokenized import TokenizationError
from sft_tradeoff.models.tokenizer import load_tokenizer
from sft_tradeoff.models.tokenizer_template import with_variables, without_clock
from sft_tradeoff.system.files import atomic_write_json
from tests.chat_layouts.folders import layout_tokenizer, templated
from tests.chat_layouts.templates import OPENING, TURN, TURNS
from tests.unit.models.conftest import SAFETENSORS, edit

PLAIN = TURNS + TURN + OPENING
SYNTAX = TURNS + "{{ m.content }"
ONE_TURN = PLAIN.replace("m.content", "m.content if messages | length < 3 else ''")
HISTORY = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
RECORD = {"id": "a", "history": HISTORY, "prompt": "2+2?", "response": "4"}
ENTRY = r"into 'chat_template' in the entry of the model 'mine' \(config/catalogue.yaml, or "


def test_a_variable_of_the_template_is_read_as_it_is_given():
    for mood in ('so "kind" \\ é \U0001f600', "{{ 1 }}"):
        template = "{{ mood }}" + TURNS + TURN + OPENING
        tokenizer = templated(with_variables(template, {"mood": mood}))
        assert render_prompt(tokenizer, {"prompt": "Hi"}) == f"{mood}[user] Hi</s>[assistant] "


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ("You are a model.{% if think is defined and not think %}x{% endif %}", {"think"}),
        ("{% set mood = mood | default('a') %}{{ mood.name }}{# note #}", {"mood"}),
        ("{% if not day is defined %}{% set day = '26' %}{% endif %}{{ day }}", {"day"}),
        (
            "{%- generation -%}{{ x }}{% endgeneration %}{% for m in [1] %}{% break %}{% endfor %}",
            {"x"},
        ),
    ],
)
def test_variables_that_a_template_reads(template, variables):
    for name in ("You", "model", "a", "name", "note", "m", "think", "mood", "day", "x"):
        if name in variables:
            found = with_variables(template, {name: "v"})
            assert found == f'{{%- set {name} = "v" %}}{template}'
            assert with_variables(found, {name: "v"}) == found, "a folder that was built sets it"
        else:
            with pytest.raises(ModelError, match=f"does not read the variable '{name}'"):
                with_variables(template, {name: "v"})


def test_a_date_is_the_same_on_any_day(tmp_path, monkeypatch):
    class Day(datetime.datetime):
        shown = "2026-11-29"

        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(cls.shown)

    monkeypatch.setattr(template_utils, "datetime", Day)
    tokenizer = layout_tokenizer("Llama 3.2 instruct", tmp_path)
    found = set()
    for Day.shown in ("2026-11-29", "2027-01-01"):
        found.add(render_prompt(tokenizer, {"prompt": "Hi"}))
    assert len(found) == 1
    assert "Today Date: 26 Jul 2024\n" in found.pop()


@pytest.mark.parametrize(
    ("template", "fixed"),
    [
        ("{{ strftime_now('%Y-%m-%d') }}", "{{ '2024-07-26' }}"),
        ('{{ strftime_now( "%d" ) ~ "x" }}', "{{ '26' ~ \"x\" }}"),
        *[(same, same) for same in ("{% if strftime_now is defined %}x{% endif %}", "no clock")],
    ],
)
def test_calls_of_the_clock_become_its_fixed_answer(template, fixed):
    assert without_clock(template) == fixed


@pytest.mark.parametrize("call", ["strftime_now(form)", "strftime_now('%d' ~ x)", "strftime_now"])
def test_a_clock_that_cannot_be_fixed_is_refused(call):
    with pytest.raises(ChatTemplateError, match="write a date instead"):
        without_clock(f"{{{{ {call} }}}}")


@pytest.mark.parametrize(("value", "written"), [(0, "none"), (False, "none"), ("0", "0"), (9, "9")])
def test_a_variable_keeps_its_type(value, written):
    """Seed-OSS compares its budget with 0, which a text never is; 1 is not true."""
    spec = ModelSpec(asset="x", chat_template_args={"budget": value})
    template = "{{ 'none' if budget == 0 else budget }}" + TURNS + TURN + OPENING
    tokenizer = templated(with_variables(template, spec.chat_template_args))
    assert render_prompt(tokenizer, {"prompt": "a"}).startswith(written + "[user]")


@pytest.mark.parametrize("template", [SYNTAX, "{{ raise_exception('no') }}", "{{ range(10**9) }}"])
@pytest.mark.parametrize("in_config", [True, False])
def test_a_folders_template_is_mended_in_its_own_file(copied, template, in_config):
    """A file of that name also replaces a template in tokenizer_config.json."""
    place = copied / "chat_template.jinja"
    if in_config:
        place.unlink()
        edit(copied / "tokenizer_config.json", chat_template=template)
    else:
        place.write_text(template)
    with pytest.raises(ModelError, match=f"cannot be rendered .* put a corrected one into {place}"):
        load_tokenizer(copied)
    place.write_text(PLAIN)
    assert render_prompt(load_tokenizer(copied), {"prompt": "a"}) == "[user] a</s>[assistant] "


@pytest.mark.parametrize(
    ("source", "own", "place"),
    [
        ("local", None, r"put a corrected one into chat_template.jinja in your model's folder"),
        ("local", ONE_TURN, ENTRY),
        ("hub", None, ENTRY),
    ],
)
def test_a_built_models_template_is_mended_where_it_comes_from(
    copied, tmp_path, source, own, place
):
    """Not in the cache's copy. The template is usable, but not for this example."""
    (copied / "chat_template.jinja").write_text(ONE_TURN)
    spec = SAFETENSORS.model_copy(update={"chat_template": own})
    asset = {"name": "mine", "source": source, "license": "x"}
    build_model("mine", spec, copied, tmp_path / "mine", asset)
    with pytest.raises(TokenizationError, match=f"the earlier turn 1 .*{place}"):
        tokenize_example(load_tokenizer(tmp_path / "mine"), RECORD, 100)


def test_a_trained_models_template_is_mended_in_a_copy(copied):
    """Its files have checksums."""
    (copied / "chat_template.jinja").write_text(ONE_TURN)
    atomic_write_json(copied / "MODEL.json", describe_weights(copied), checksum=True)
    place = f"chat_template.jinja in a copy of {copied} without MODEL.json"
    with pytest.raises(TokenizationError, match=place):
        tokenize_example(load_tokenizer(copied), RECORD, 100)


def test_a_template_that_fails_while_a_model_is_built_is_mended_where_it_comes_from(
    copied, tmp_path
):
    spec = SAFETENSORS.model_copy(update={"chat_template": SYNTAX})
    with pytest.raises(ModelError, match=f"cannot be rendered .*{ENTRY}"):
        build_model("mine", spec, copied, tmp_path / "mine", {"source": "local"})
