from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)


@pytest.fixture(scope="session")
def families() -> dict[str, Any]:
    """A way to make a small model of each architecture, by name."""
    sizes = {"vocab_size": 300}
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    latent = {
        "num_key_value_heads": 2,
        "kv_lora_rank": 8,
        "q_lora_rank": None,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4,
        "v_head_dim": 8,
        "first_k_dense_replace": 2,
    }
    gpt2 = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**sizes, **gpt2)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**sizes, **shape, num_key_value_heads=1)),
        # keys and values of which a cache holds another number of heads than the configuration names
        "deepseek": lambda: DeepseekV2ForCausalLM(DeepseekV2Config(**sizes, **shape, **latent)),
        "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **shape)),
    }
