"""Which caches can be rearranged."""

from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from sft_tradeoff.models.cache import has_plain_cache
from tests.unit.models.conftest import SIZES


def test_a_cache_is_plain_if_all_keys_stay():
    """Llama keeps every key; Mistral here drops those that leave its window; ALiBi has no ids."""
    assert has_plain_cache(LlamaForCausalLM(LlamaConfig(**SIZES)))
    assert not has_plain_cache(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)))
    assert has_plain_cache(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)))
    other = LlamaForCausalLM(LlamaConfig(**SIZES))
    other.config.alibi = True
    assert not has_plain_cache(other)
    other.config.alibi = False
    other.config._attn_implementation = "flash_attention_2"
    assert not has_plain_cache(other)


def test_kernels_that_count_columns_are_not_plain():
    """GPT-Neo's local layers look back a number of columns, padding included; GPT has no cache."""
    sizes = {"vocab_size": 40, "hidden_size": 32, "num_layers": 2, "num_heads": 2}
    kinds = {"global": True, "local": False}
    for kind, plain in kinds.items():
        config = GPTNeoConfig(**sizes, attention_types=[[["global", kind], 1]])
        assert has_plain_cache(GPTNeoForCausalLM(config)) == plain
    config = OpenAIGPTConfig(vocab_size=40, n_embd=32, n_layer=1, n_head=2)
    assert not has_plain_cache(OpenAIGPTLMHeadModel(config))
