"""Keys and values of rows that are being decoded: where they stand, and how a row makes room for the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlhf.models.packed import layout_of, positions_of, takes
from rlhf.models.policy import logits_at
from rlhf.models.rows import pad

#: prompt tokens a pass; what a layer computes of them may take more memory than the cache. On a CPU all at once
READ_TOKENS = {"cuda": 16384}


class Slots:
    """A fixed number of rows of a model that packs, each in a slot of its own, with a column a position.

    So a slot takes a prompt at any time, whatever the others are at, and memory is bounded by slots x columns.
    """

    def __init__(self, model: Any, pad_id: int, slots: int, columns: int) -> None:
        """columns: tokens of the longest row, prompt and answer."""
        self.model, self.pad_id, self.columns = model, pad_id, columns
        self.cache = DynamicCache(config=model.config)
        self.layers = [SlotLayer(slots, columns) for _ in self.cache.layers]
        self.cache.layers = list(self.layers)

    def read(self, prompts: list[list[int]], slots: Tensor) -> Tensor:
        """Each prompt into its slot [B]. Returns the logits after them [B, V]."""
        at_once = READ_TOKENS.get(self.model.device.type, 2**63) // max(map(len, prompts)) or 1
        parts = range(0, len(prompts), min(at_once, len(prompts)))
        return torch.cat([self._read(prompts[a : a + at_once], slots[a : a + at_once]) for a in parts])

    def _read(self, prompts: list[list[int]], slots: Tensor) -> Tensor:
        device = self.model.device
        batch = pad(prompts, [[]] * len(prompts), self.pad_id, device)
        layout = layout_of(batch.is_real)
        places = _places(slots[layout.places // layout.width], layout.positions[0], self.columns)
        for layer in self.layers:
            layer.places, layer.shown = places, None
        ends = batch.is_real.sum(1).cumsum(0) - 1
        return logits_at(self.model, batch.ids, batch.is_real, layout, ends, self.cache)

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """A token [B] more for the first B slots, at its position [B] in the row. Returns the logits after it [B, V]."""
        rows, width = len(tokens), int(positions.max()) + 1
        is_hidden = torch.arange(width, device=tokens.device) > positions[:, None]
        mask = torch.zeros(is_hidden.shape, dtype=self.model.dtype, device=tokens.device)
        mask = mask.masked_fill_(is_hidden, -torch.inf)
        places = _places(torch.arange(rows, device=tokens.device), positions, self.columns)
        for layer in self.layers:
            layer.places, layer.shown = places, (rows, width)
        return self.model(
            input_ids=tokens[:, None],
            attention_mask=mask[:, None, None],
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        """Slot i holds from now on what slot rows[i] >= i held."""
        moved = torch.nonzero(rows != torch.arange(len(rows), device=rows.device))[:, 0]
        for layer in self.layers:
            for held in (layer.keys, layer.values):
                held[moved] = held[rows[moved]]


def bytes_a_token(model: Any) -> int:
    """Of a cache: keys and values of every layer, by the model's configuration."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


class SlotLayer(DynamicLayer):
    """Keys and values of one layer, [slots, H, columns, D], in memory reserved for all tokens to come.

    DynamicLayer copies what it holds at every token, which costs a small model more than its arithmetic.
    """

    places: Callable[[int], Tensor]  # heads -> [tokens * heads] int64, where the next tokens are written
    shown: tuple[int, int] | None  # how many slots and columns attention sees; None: none

    def __init__(self, slots: int, columns: int) -> None:
        super().__init__()
        self.slots, self.columns = slots, columns

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values = (
            part.new_zeros((self.slots, part.shape[1], self.columns, part.shape[3]))
            for part in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write [B, H, T, D] keys and values at `places`. Returns those of the slots shown, or of prompts that are
        being read the given ones: a packed prompt sees nothing but itself."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        seen = []
        for held, new in ((self.keys, key_states), (self.values, value_states)):
            held.flatten(0, 2).index_copy_(0, self.places(new.shape[1]), new.transpose(1, 2).flatten(0, 2))
            seen.append(new if self.shown is None else held[: self.shown[0], :, : self.shown[1]])
        return seen[0], seen[1]

    def get_seq_length(self) -> int:
        return 0 if self.shown is None else self.shown[1] - 1


def _places(slots: Tensor, columns: Tensor, size: int) -> Callable[[int], Tensor]:
    """Where tokens at these slots and columns, [tokens] each, stand in a layer of H heads: H -> [tokens * H].

    size: columns a slot. It holds no `Slots`: a circle of references would keep a cache until the next collection.
    """

    @cache
    def places(heads: int) -> Tensor:
        numbers = torch.arange(heads, device=slots.device)
        return ((slots[:, None] * heads + numbers) * size + columns[:, None]).flatten()

    return places


class Padded:
    """The same for a model that does not pack: all rows are read at once, padded on the left, and none is refilled."""

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id
        self.cache = DynamicCache(config=model.config)

    def read(self, prompts: list[list[int]], _: Tensor) -> Tensor:
        device, width = self.model.device, max(map(len, prompts))
        ids = [[self.pad_id] * (width - len(prompt)) + prompt for prompt in prompts]
        starts = torch.tensor([width - len(prompt) for prompt in prompts])
        self.is_real = (torch.arange(width) >= starts[:, None]).long().to(device)
        return self._logits(torch.tensor(ids, device=device), positions_of(self.is_real.bool()))

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        self.is_real = torch.cat([self.is_real, torch.ones_like(tokens)[:, None]], dim=1)
        return self._logits(tokens[:, None], positions[:, None])

    def _logits(self, ids: Tensor, positions: Tensor) -> Tensor:
        given = {"position_ids": positions, "logits_to_keep": 1}
        return self.model(
            input_ids=ids,
            attention_mask=self.is_real,
            past_key_values=self.cache,
            use_cache=True,
            **{name: value for name, value in given.items() if takes(self.model, name)},
        ).logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.is_real = self.is_real[rows]
        self.cache.batch_select_indices(rows)


class Replayed:
    """The same for a model that keeps no cache of ours: each step reads the rows whole again, padded on the right.

    Slow, and right for every model whose forward pass is: what stands after a token changes nothing before it.
    """

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model, self.pad_id, self.rows = model, pad_id, list[list[int]]()

    def read(self, prompts: list[list[int]], _: Tensor) -> Tensor:
        self.rows = [list(prompt) for prompt in prompts]
        return self._logits()

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        return self._logits()

    def keep(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]

    def _logits(self) -> Tensor:
        batch = pad(self.rows, [[]] * len(self.rows), self.pad_id, self.model.device)
        ends = batch.is_real.sum(1).cumsum(0) - 1
        return logits_at(self.model, batch.ids, batch.is_real, layout_of(batch.is_real), ends)
