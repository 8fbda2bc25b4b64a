"""The last layer's MLP for those tokens alone whose hidden state is read.

Of a prompt and its response the logits and values of the response are read, of a ranked answer one score; what the
other tokens are for is their keys and values, and these the last MLP comes after. In a model of four layers it is a
sixth of the work on each token that is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def read_at(model: Any, at: Tensor) -> Iterator[None]:
    """Meanwhile the body of `model`, given packed tokens [1, N], has the right last hidden state at the tokens `at` alone.

    at: [M] int64, rising. The MLP's output is 0 elsewhere. Nothing changes where the last layer has no MLP that takes
    tokens one by one, or is computed again for the gradient.
    """
    mlp = last_mlp(model.base_model)
    if mlp is None or (model.training and model.is_activation_checkpointing):
        yield
        return
    tokens = 0

    def before(module: nn.Module, given: tuple[Tensor]) -> Tensor:
        nonlocal tokens
        tokens = given[0].shape[1]
        return given[0].index_select(1, at)

    def after(module: nn.Module, given: tuple[Tensor], found: Tensor) -> Tensor:
        return found.new_zeros((1, tokens, found.shape[2])).index_copy(1, at, found)

    hooks = (mlp.register_forward_pre_hook(before), mlp.register_forward_hook(after))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def last_mlp(body: nn.Module) -> nn.Module | None:
    """The MLP of a decoder's last layer, if the layer calls it so and it is no mixture of experts."""
    layers = next((child for child in body.children() if isinstance(child, nn.ModuleList)), None)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    return None if mlp is None or hasattr(mlp, "experts") else mlp
