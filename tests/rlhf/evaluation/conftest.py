"""A model that a test can afford: two layers, 32 wide, and a reward model on the same body."""

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from rlhf.models import directories, reward
from rlhf.models.tokenizer import train

TEXTS = [
    f"The {colour} {animal} lives near the {place} and eats {food}."
    for colour in ("red", "grey", "small")
    for animal in ("fox", "bear", "owl")
    for place in ("river", "forest")
    for food in ("mice", "berries")
]


def tiny(folder, seed):
    torch.manual_seed(seed)
    tokenizer = train(TEXTS * 4, 300, 64)
    shape = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return directories.save(GPTNeoXForCausalLM(shape), tokenizer, folder)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """{"base", "sft", "rl_start", "reward_model"} -> model folder; base is another model than the rest."""
    folder = tmp_path_factory.mktemp("models")
    found = {
        "base": tiny(folder / "base", 0),
        "sft": tiny(folder / "sft", 1),
        "rl_start": tiny(folder / "rl", 1),
    }
    rm = reward.from_policy(found["sft"])
    found["reward_model"] = directories.save(rm.model, rm.tokenizer, folder / "reward")
    return found


@pytest.fixture(scope="session")
def texts():
    return TEXTS
