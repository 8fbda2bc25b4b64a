import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

from rlhf.models import packed
from rlhf.models.last_layer import last_mlp

IS_REAL = torch.arange(9) < torch.tensor([3, 9, 5])[:, None]
AT = torch.tensor([1, 2, 9, 10, 11, 16])  # of 17 tokens


@pytest.fixture(params=["gpt2", "llama", "neox"])  # in GPT-NeoX attention and MLP stand side by side
def model(request, families):
    """In float64, so that a wrong number is no rounding."""
    torch.manual_seed(0)
    made = packed.prepare(families[request.param]()).double().eval()
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return made


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
    torch.testing.assert_close(found, whole, atol=1e-12, rtol=1e-9)
    assert of_found.keys() == of_whole.keys()
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_found[name], gradient, atol=1e-12, rtol=1e-9)


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
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-9)


def test_a_mixture_of_experts_is_left_as_it_is():
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = MixtralForCausalLM(
        MixtralConfig(vocab_size=50, **shape, num_key_value_heads=2, num_local_experts=2)
    )
    assert hasattr(model.base_model.layers[-1].mlp, "experts")
    assert last_mlp(model.base_model) is None
