"""Attention on a CPU: causal, of rows that stand one after another, each by itself, where nothing is padded and nothing copied;
and of a token a row over what the row's cache holds.

On a GPU a call for each row would cost more than padding does; there `rlhf.models.packed` takes rows in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def can_attend_rows(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the kernel takes such tensors; it does not look itself."""
    parts = (query, key, value)
    return (
        all(part.device.type == "cpu" and part.stride(-1) == 1 for part in parts)
        and len({part.dtype for part in parts}) == len({part.shape[-1] for part in parts}) == 1
        and query.dtype in (torch.float32, torch.bfloat16, torch.float16)
    )


def attend_rows(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float | None
) -> Tensor:
    """query, key, value: [1, H, N, D], N the sum of the rows' lengths. Returns [1, N, H, D], differentiable."""
    found: Tensor = _RowAttention.apply(query, key, value, lengths, scale)
    return found


class _RowAttention(torch.autograd.Function):
    """torch's own kernel for CPUs, and its gradient, row by row into one tensor.

    Autograd would put a gradient of the size of all rows together for each of them.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float | None
    ) -> Tensor:
        heads, tokens, width = query.shape[1:]
        out = query.new_empty((1, tokens, heads, width)).transpose(1, 2)
        normalisers = query.new_empty((1, tokens, heads), dtype=torch.float32).transpose(1, 2)
        for row in _spans(lengths):
            q, k, v = query[:, :, row], key[:, :, row], value[:, :, row]
            out[:, :, row], normalisers[:, :, row] = _forward(q, k, v, is_causal=True, scale=scale)
        ctx.save_for_backward(query, key, value, out, normalisers)
        ctx.lengths, ctx.scale = lengths, scale
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, out, normalisers = ctx.saved_tensors
        gradient = gradient.transpose(1, 2)
        found = [torch.empty_like(out) for _ in range(3)]
        for row in _spans(ctx.lengths):
            given = (tensor[:, :, row] for tensor in (gradient, query, key, value, out, normalisers))
            for whole, part in zip(found, _backward(*given, 0.0, True, scale=ctx.scale), strict=True):
                whole[:, :, row] = part
        return found[0], found[1], found[2], None, None


def can_attend_one(query: Tensor, mask: Tensor | None) -> bool:
    """Whether `attend_one` takes a step of decoding: one token a row, on a CPU in float32, where torch's kernel is slower."""
    return (
        query.shape[2] == 1
        and query.device.type == "cpu"
        and query.dtype == torch.float32
        and (mask is None or (mask.dtype == query.dtype and mask.shape[1] == 1))
    )


def attend_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """A query a row: [B, H, 1, D] over keys and values [B, K, T, D], H a multiple of K. Returns [B, 1, H, D].

    mask: [B, 1, 1, T], 0 where a row looks and -inf elsewhere; None: it looks everywhere. Heads that share keys are one product.
    """
    rows, shared, columns, width = key.shape
    heads = query.reshape(rows * shared, -1, width)
    hidden = query.new_zeros(1) if mask is None else mask.expand(rows, shared, 1, columns).flatten(0, 1)
    scores = torch.baddbmm(
        hidden, heads, key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5 if scale is None else scale
    )
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).view(rows, 1, -1, value.shape[3])


def _spans(lengths: Sequence[int]) -> Iterator[slice]:
    start = 0
    for length in filter(None, lengths):
        yield slice(start, start + length)
        start += length
