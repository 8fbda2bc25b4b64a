"""Low-rank adapters: nothing changes before training, the weights stay, and what is saved needs no adapters."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from rlhf.models.packed import prepare
from rlhf.models.policy import response_logprobs
from rlhf.training.lora import adapt, merged, trainable

PROMPTS = [[5, 6, 7], [9], [10, 11, 12, 13, 14, 15, 16], [8, 9]]
RESPONSES = [[20, 21], [22], [23, 24, 25], [26]]


def logprobs(model):
    return torch.cat(response_logprobs(model, PROMPTS, RESPONSES, pad_id=3, temperature=1.0))


@pytest.fixture(params=["gpt2", "llama", "neox"])
def plain(request, families):
    torch.manual_seed(0)
    return prepare(families[request.param]().eval())


def test_adapters_start_as_nothing_and_merge_into_the_weights(plain):
    adapted = adapt(copy.deepcopy(plain), 4)
    assert torch.equal(logprobs(adapted), logprobs(plain))
    names = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert not any("lora_" in name for name, _ in adapted.get_output_embeddings().named_parameters())
    with torch.no_grad():
        for parameter in trainable(adapted):
            parameter.normal_(std=0.2)
    assert not torch.allclose(logprobs(adapted), logprobs(plain), atol=1e-2)
    whole = merged(adapted, adapted.state_dict())
    assert whole.keys() == plain.state_dict().keys()
    plain.load_state_dict(whole)
    assert torch.allclose(logprobs(adapted), logprobs(plain), atol=1e-4)


def test_no_rank_no_adapters(plain):
    assert adapt(plain, None) is plain and all(p.requires_grad for p in plain.parameters())


def weights(directory):
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ppo_and_the_reward_model_train_adapters_and_save_whole_models(world, tmp_path, dtype):
    settings = {"lora_rank": 4, "dtype": dtype}
    world.run("reward_model", tmp_path / "rm", world.for_reward_model, reward_model=settings)
    inputs = {"rl_start": world.rl_start, "reward_model": tmp_path / "rm/model", "curated": world.curated}
    world.run("ppo", tmp_path / "ppo", inputs, ppo={**settings, "lr": 1e-2})
    kept = {name: value.to(getattr(torch, dtype)).float() for name, value in weights(world.rl_start).items()}
    for folder in ("ppo/model", "ppo/model/ema"):
        trained = weights(tmp_path / folder)
        assert trained.keys() == kept.keys()
        changed = {name for name in kept if not torch.allclose(trained[name], kept[name], atol=1e-6)}
        assert changed and all("_proj" in name for name in changed)
    assert not any("lora" in name for name in weights(tmp_path / "rm/model"))
