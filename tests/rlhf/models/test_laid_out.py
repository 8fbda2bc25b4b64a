"""A model whose matrices are laid out for decoding is the same model, and its own again afterwards."""

import pytest
import torch

from rlhf.models.laid_out import laid_out, linear_layers
from rlhf.models.packed import prepare
from rlhf.training.lora import adapt, trainable

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def is_laid_out(layer):
    return "forward" in vars(layer)


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
        assert all(map(is_laid_out, linear_layers(model)))
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
        torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for parameter in trainable(model):
                parameter.mul_(2)
        torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)
    after = logits(model)
    assert not torch.allclose(after, before, atol=1e-2)
    with laid_out(model):
        torch.testing.assert_close(logits(model), after, atol=1e-5, rtol=1e-5)


def test_adapters_of_bfloat16_are_not_added_to_weights_that_would_round_them_away(model):
    adapt(model.to(torch.bfloat16), 4)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.normal_(std=1e-3)
    before = logits(model)
    with laid_out(model):
        torch.testing.assert_close(logits(model), before, atol=3e-2, rtol=3e-2)
        names = [name for name, module in model.named_modules() if is_laid_out(module)]
    assert any("lora_A" in name for name in names) and any("base_layer" in name for name in names)


class Router(torch.nn.Linear):
    """More than a product, as a mixture of experts has it."""

    def forward(self, given):
        return super().forward(given).softmax(-1)


def test_what_it_cannot_lay_out_stays_as_it_is(model):
    plain, overridden = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    overridden.forward = own = lambda given: given
    module = torch.nn.ModuleList([Router(4, 4), plain, overridden, torch.nn.Linear(4, 4).double()])
    with laid_out(module):
        assert [is_laid_out(layer) for layer in module] == [False, True, True, False]
        assert overridden.forward is own
    assert [is_laid_out(layer) for layer in module] == [False, False, True, False]
    model.double()
    with laid_out(model):
        assert not any(map(is_laid_out, linear_layers(model)))


def test_an_error_leaves_nothing_behind(model):
    expected = logits(model)
    with pytest.raises(KeyError), laid_out(model):
        raise KeyError
    assert not any(map(is_laid_out, linear_layers(model)))
    assert torch.equal(logits(model), expected)
