"""Generation settings that change a greedy choice."""

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
)

from sft_tradeoff.models.decoding import is_plain_greedy
from tests.unit.models.conftest import SIZES


def test_generation_settings_that_change_greedy_choices_are_seen():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.generation_config.update(temperature=0.2, top_p=0.9, do_sample=True, max_length=99)
    assert is_plain_greedy(model)
    model.generation_config.update(no_repeat_ngram_size=3)
    assert not is_plain_greedy(model)
