"""A key-value cache that is written in place."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class ReservedLayer(DynamicLayer):
    """Keys and values of one layer, in memory reserved for all tokens to come.

    DynamicLayer copies what it holds at every token, which costs a small model more than its arithmetic.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room  # tokens that will follow the first update
        self._all_keys: Tensor
        self._all_values: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [B, H, T, D] keys and values; returns all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._reserve(key_states, value_states)
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

    def _reserve(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, tokens, _ = key_states.shape
        self._all_keys = key_states.new_empty((rows, heads, tokens + self.room, key_states.shape[-1]))
        self._all_values = value_states.new_empty((rows, heads, tokens + self.room, value_states.shape[-1]))

    def _show(self, end: int) -> None:
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]


def reserved_cache(model: Any, room: int) -> DynamicCache:
    """An empty cache for `model` with room for so many tokens after the prompt; other kinds of layer stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [ReservedLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
