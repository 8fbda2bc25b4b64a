"""The key-value cache of a batch that is being decoded: filled from packed prompts, then written in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlhf.models.packed import Layout


class ReservedLayer(DynamicLayer):
    """Keys and values of one layer, in memory reserved for all tokens to come.

    DynamicLayer copies what it holds at every token, which costs a small model more than its arithmetic.
    """

    def __init__(self, keys: Tensor, values: Tensor, held: int) -> None:
        """keys, values: [B, H, T, D], of which the first `held` tokens are there."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all_keys, self._all_values = keys, values
        self._show(held)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [B, H, T, D] keys and values; returns all of them, as views."""
        held = self.get_seq_length()
        end = held + key_states.shape[-2]
        self._all_keys[:, :, held:end] = key_states
        self._all_values[:, :, held:end] = value_states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows."""
        held = self.get_seq_length()
        self._all_keys, self._all_values = self._all_keys[indices], self._all_values[indices]
        self._show(held)

    def _show(self, end: int) -> None:
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]


def reserved(packed: DynamicCache, layout: Layout, room: int) -> DynamicCache:
    """Prompts' keys and values, [1, H, N, D] a layer, as [B, H, T + room, D], every row's last token at column T - 1."""
    rows = layout.places // layout.width
    lengths = torch.bincount(rows, minlength=layout.rows)
    columns = layout.width - lengths[rows] + layout.positions[0]
    cache = DynamicCache()
    cache.layers = [
        ReservedLayer(
            _place(layer.keys, rows, columns, layout, room),
            _place(layer.values, rows, columns, layout, room),
            layout.width,
        )
        for layer in packed.layers
    ]
    return cache


def _place(packed: Tensor, rows: Tensor, columns: Tensor, layout: Layout, room: int) -> Tensor:
    _, heads, _, size = packed.shape
    whole = packed.new_zeros((layout.rows, heads, layout.width + room, size))
    whole[rows, :, columns] = packed[0].transpose(0, 1)
    return whole
