"""A model's matrices in the order in which a CPU reads them fastest, for as long as it decodes.

A step of decoding is a few rows, and a product of a few rows with a matrix is mostly reading the matrix. oneDNN, torch's
library for CPUs, reads it from blocks of its own in half to four fifths of the time that it takes from rows or columns;
to put it there costs about as much as two steps. Adapters are added in on the way, so that a step has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_DTYPES = (torch.float32, torch.bfloat16)


@contextmanager
def laid_out(model: Any) -> Iterator[None]:
    """Meanwhile every linear layer of `model` computes with a copy of its weight as it is now, without a gradient.

    Results are the layer's own up to rounding. Off a CPU, and where oneDNN is not there, nothing changes.
    """
    able = model.device.type == "cpu" and model.dtype in _DTYPES and torch.backends.mkldnn.is_available()
    layers = linear_layers(model) if able else []
    try:
        for layer in layers:
            layer.forward = _forward(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def linear_layers(model: nn.Module) -> list[Any]:
    """Layers that multiply by a matrix; one with adapters is one layer."""
    found: list[Any] = []
    for child in model.children():
        is_layer = is_linear(child) or hasattr(child, "get_delta_weight")
        found += [child] if is_layer else linear_layers(child)
    return found


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's


@torch.no_grad()
def _forward(layer: Any) -> Callable[[Tensor], Tensor]:
    base = getattr(layer, "base_layer", layer)
    weight = base.weight
    for adapter in getattr(layer, "active_adapters", ()):
        weight = weight + layer.get_delta_weight(adapter)
    weight = weight if isinstance(base, nn.Linear) else weight.t()
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return partial(_product, blocks=blocks, bias=base.bias)


def _product(given: Tensor, *, blocks: Tensor, bias: Tensor | None) -> Tensor:
    """given: [..., in] -> [..., out]."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(given, blocks, bias, "none", [], "")
    return found
