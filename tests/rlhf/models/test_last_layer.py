import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from rlhf.models import packed
from rlhf.models.last_layer import last_mlp

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
GPT2 = {
    "n_positions": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "resid_pdrop": 0,
    "embd_pdrop": 0,
    "attn_pdrop": 0,
}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, **GPT2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=50, **SHAPE)),
    "neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=50, **SHAPE)
    ),  # attention and MLP side by side
}
IS_REAL = torch.arange(9) < torch.tensor([3, 9, 5])[:, None]
AT = torch.tensor([1, 2, 9, 10, 11, 16])  # of 17 tokens


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return packed.prepare(MODELS[request.param]()).eval()


def outcome(model, at):
    """Hidden states at AT, asked for at `at`, and the gradients of something that reads them."""
    ids = torch.randint(50, IS_REAL.shape, generator=torch.Generator().manual_seed(1))
    hidden = packed.hidden_states(model, ids, IS_REAL, packed.layout_of(IS_REAL), at)
    hidden = hidden if len(at) == len(AT) else hidden[AT]
    model.zero_grad()
    (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return hidden.detach(), gradients


def test_what_is_read_does_not_change_and_neither_do_gradients(model):
    found, of_found = outcome(model, AT)
    whole, of_whole = outcome(model, torch.arange(17))
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)
    assert of_found.keys() == of_whole.keys()
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_found[name], gradient, atol=1e-5, rtol=1e-4)


def test_the_last_mlp_sees_the_tokens_that_are_read_alone(model):
    seen = []
    first = next(child for child in last_mlp(model.base_model).children())
    first.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1]))
    outcome(model, AT)
    assert seen == [len(AT)]
    model.base_model(torch.zeros(1, 4, dtype=torch.long))  # and whatever else is asked of it afterwards, all
    assert seen[1:] == [4]


def test_layers_that_forget_their_activations_compute_the_same_gradients(model):
    _, right = outcome(model, AT)
    model.activation_checkpointing_enable()
    model.train()
    _, found = outcome(model, AT)
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def test_a_mixture_of_experts_is_left_as_it_is():
    config = MixtralConfig(vocab_size=50, **SHAPE, num_key_value_heads=2, num_local_experts=2)
    assert last_mlp(MixtralForCausalLM(config).base_model) is None
