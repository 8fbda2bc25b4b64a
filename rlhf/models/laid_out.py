"""A model's matrices in the order in which a CPU reads them fastest, for as long as it decodes.

A step of decoding is a few rows, and a product of a few rows with a matrix is mostly reading the matrix. oneDNN, torch's
library for CPUs, reads it from blocks of its own in two thirds to nine tenths of the time that it takes from columns; to put
it there costs about as much as two steps. Adapters are added in on the way, so that a step has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def laid_out(model: Any) -> Iterator[None]:
    """Meanwhile the linear layers of `model` compute with a copy of their weights as they are now, without a gradient.

    Results are the layer's own up to rounding. Nothing changes off a CPU, in other numbers than float32 and bfloat16, where
    oneDNN does not take them, and in a layer that is more than a product with a matrix.
    """
    layers = [layer for layer in linear_layers(model) if _can_lay_out(layer)]
    try:
        for layer in layers:
            layer.forward = _forward(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def linear_layers(model: nn.Module) -> list[Any]:
    """Layers that multiply by a matrix. One with adapters in float32 is one layer: coarser numbers would lose what they add."""
    found: list[Any] = []
    for child in model.children():
        is_adapted = hasattr(child, "get_delta_weight") and child.weight.dtype == torch.float32
        found += [child] if is_adapted or is_linear(child) else linear_layers(child)
    return found


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's


def _can_lay_out(layer: Any) -> bool:
    base = getattr(layer, "base_layer", layer)
    return (
        base.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and (base.weight.dtype == torch.float32 or _is_fast_bfloat16(base.weight))
        and (not isinstance(base, nn.Linear) or type(base).forward is nn.Linear.forward)
        and "forward" not in vars(layer)
    )


def _is_fast_bfloat16(weight: Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
