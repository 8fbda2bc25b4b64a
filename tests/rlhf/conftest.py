from __future__ import annotations

from typing import Any

import pytest
from transformers import (
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
    gpt2 = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**sizes, **gpt2)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**sizes, **shape)),
        "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **shape)),
    }
