"""A model whose matrices are laid out for decoding is the same model, and its own again afterwards."""

import pytest
import torch

from rlhf.models.laid_out import laid_out, linear_layers
from rlhf.models.packed import prepare
from rlhf.training.lora import adapt, trainable

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


@pytest.fixture(params=["gpt2", "llama", "neox"])
def model(request, families):
    torch.manual_seed(0)
    return prepare(families[request.param]().eval())


@torch.no_grad()
def logits(model):
    return model(IDS).logits


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_results_are_the_models_own(model, dtype, near):
    model.to(dtype)
    expected = logits(model)
    with laid_out(model):
        assert all("forward" in vars(layer) for layer in linear_layers(model))
        found = logits(model)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, atol=near, rtol=near)
    assert torch.equal(logits(model), expected)


def test_every_matrix_counts(model):
    """Attention, MLP and head of each layer are among those that are laid out."""
    by_hand = {id(module) for module in model.modules() if type(module).__name__ in ("Linear", "Conv1D")}
    assert {id(layer) for layer in linear_layers(model)} == by_hand and by_hand


def test_weights_are_those_of_the_moment_adapters_included(model):
    adapt(model, 4)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.normal_(std=0.2)
    before = logits(model)
    with laid_out(model):
        torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            for parameter in trainable(model):
                parameter.mul_(2)
        torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
    after = logits(model)
    assert not torch.allclose(after, before, atol=1e-2)
    with laid_out(model):
        torch.testing.assert_close(logits(model), after, atol=1e-4, rtol=1e-4)


def test_what_it_cannot_lay_out_stays_as_it_is(model):
    model.double()
    with laid_out(model):
        assert not any("forward" in vars(layer) for layer in linear_layers(model))


def test_an_error_leaves_nothing_behind(model):
    expected = logits(model)
    with pytest.raises(KeyError), laid_out(model):
        raise KeyError
    assert not any("forward" in vars(layer) for layer in linear_layers(model))
    assert torch.equal(logits(model), expected)
