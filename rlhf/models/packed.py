"""Rows of unequal length through a model without padding: their tokens one after another.

Attention is a small part of a transformer's work at the lengths of prompts and answers, and padding a large part of a
batch's tokens; so every linear layer sees the real tokens only, [1, N], and attention, which must know the rows, takes
them one by one (on a CPU: rlhf/models/row_attention.py) or is given them as [B, T] and read back. It is registered with
transformers under NAME. Every other call is sdpa's, but for a step of decoding on a CPU.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.activations import NewGELUActivation
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlhf.models import probe
from rlhf.models.last_layer import read_at
from rlhf.models.row_attention import attend_one, attend_rows, can_attend_one, can_attend_rows

NAME = "packed"
_NO_MASK = torch.zeros((1, 1, 1, 1), dtype=torch.bool)  # of four dimensions: passed on as it is, and not read


#: rows share a block of attention while the shortest is at least this share of the longest
LIKE = 0.6


class Block(NamedTuple):
    """Rows of like length that attention takes together: tokens start..end of the packed ones, padded to [rows, width]."""

    start: int
    end: int
    slots: (
        Tensor  # [end - start] int64: place of each token in the flattened [rows, width], rows beginning at 0
    )
    rows: int
    width: int


class Layout(NamedTuple):
    """Where packed tokens stand in their rows."""

    places: Tensor  # [N] int64: place of each token in the flattened [B, T], rising
    positions: Tensor  # [1, N] int64, from 0 at each row's first real token
    rows: int
    width: int
    lengths: list[int]  # real tokens of each row
    blocks: list[Block]


def positions_of(is_real: Tensor) -> Tensor:
    """[B, T] int64: from 0 at each row's first real token. is_real: [B, T] bool."""
    return (is_real.long().cumsum(dim=1) - 1).clamp(min=0)


def layout_of(is_real: Tensor) -> Layout:
    """is_real: [B, T] bool; the real tokens of a row stand together, with padding on either side."""
    positions = positions_of(is_real)
    places = is_real.flatten().nonzero()[:, 0]
    positions, (rows, width) = positions.flatten()[places], is_real.shape
    lengths = is_real.sum(1).tolist()
    return Layout(places, positions[None], rows, width, lengths, _blocks(lengths, positions))


def _blocks(lengths: list[int], positions: Tensor) -> list[Block]:
    """Neighbouring rows of like length: callers sort rows by length, which makes the blocks few."""
    blocks: list[Block] = []
    first = start = 0
    least = most = lengths[0] if lengths else 0
    for row in range(1, len(lengths) + 1):
        if row < len(lengths):
            least, most = min(least, lengths[row]), max(most, lengths[row])
            if least >= LIKE * most:
                continue
            least = most = lengths[row]
        width, count = max(lengths[first:row]), torch.tensor(lengths[first:row], device=positions.device)
        end = start + sum(lengths[first:row])
        rows = torch.repeat_interleave(torch.arange(row - first, device=positions.device), count)
        blocks.append(Block(start, end, rows * width + positions[start:end], row - first, width))
        first, start = row, end
    return blocks


def hidden_states(
    model: Any, ids: Tensor, is_real: Tensor, layout: Layout, at: Tensor, cache: Any = None
) -> Tensor:
    """[M, d]: the body's last hidden state at the real tokens `at`, [M] int64, rising places in the layout's order.

    ids, is_real: [B, T]. cache: an empty one that takes the prompt's keys and values, [1, H, N, D] a layer; only
    where `is_packing`.
    """
    if not is_packing(model):
        return model.base_model(**padded(model.base_model, ids, is_real)).last_hidden_state.flatten(0, 1)[
            layout.places[at]
        ]
    with read_at(model, at):
        found = model.base_model(**inputs(ids, layout), past_key_values=cache, use_cache=cache is not None)
    return found.last_hidden_state[0, at]


def inputs(ids: Tensor, layout: Layout) -> dict[str, Any]:
    """What a packing model's forward is given for padded ids [B, T]; what it returns is [1, N, ...]."""
    return {
        "input_ids": ids.flatten()[layout.places][None],
        "position_ids": layout.positions,
        "attention_mask": _NO_MASK,
        "layout": layout,
    }


def padded(model: nn.Module, ids: Tensor, is_real: Tensor) -> dict[str, Any]:
    """What a forward pass of rows [B, T] padded on the right is given, of that which it takes (not all have positions)."""
    given = {"input_ids": ids, "attention_mask": is_real.long(), "position_ids": positions_of(is_real)}
    return {name: value for name, value in given.items() if takes(model, name)} | {"use_cache": False}


def takes(model: nn.Module, name: str) -> bool:
    """Whether the model's forward pass names such an argument; through others it may reach code that does not."""
    return name in inspect.signature(type(model).forward).parameters


def unpack(values: Tensor, layout: Layout, at: Tensor) -> Tensor:
    """[M, ...] of the tokens `at` to [B, T, ...], 0 elsewhere."""
    return _spread(values, layout.places[at], layout.rows, layout.width)


def _spread(values: Tensor, places: Tensor, rows: int, width: int) -> Tensor:
    flat = values.new_zeros((rows * width, *values.shape[1:]))
    return flat.index_copy(0, places, values).unflatten(0, (rows, width))


def prepare(model: Any) -> Any:
    """The model with attention that packs, where it is right with it, and GPT-2's GELU in one kernel. Returns it."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):  # the same function as eight elementwise kernels
                setattr(module, name, nn.GELU(approximate="tanh"))
    if may_pack(model):
        own = model.config._attn_implementation
        if packing_gap(model) > probe.TOLERANCE:
            model.set_attn_implementation(own)
    return model


def may_pack(model: Any) -> bool:
    """True for a decoder whose layers all attend to everything before them, by its configuration."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and bool(getattr(model, "_supports_sdpa", False))
        and kinds == {"full_attention"}
        and not (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True))
    )


@torch.no_grad()
def packing_gap(model: Any) -> float:
    """Sets attention that packs, and returns how far hidden states of packed rows are from each row's by itself.

    As a share of the largest; infinite where the model's code does not take packed rows. Dropout is off meanwhile.
    """
    was_training = model.training
    model.eval()
    rows = probe.rows_of(model)
    try:
        right = probe.alone(model, rows)
        model.set_attn_implementation(NAME)
        width = max(map(len, rows))
        is_real = torch.stack([torch.arange(width, device=model.device) < len(row) for row in rows])
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        layout = layout_of(is_real)
        every = torch.arange(len(layout.places), device=model.device)
        read = [torch.arange(len(row) - 2, len(row), device=model.device) for row in rows]
        starts = [0, *torch.tensor(layout.lengths).cumsum(0).tolist()]
        some = torch.cat([at + start for at, start in zip(read, starts, strict=False)])
        packed = [hidden_states(model, ids, is_real, layout, at) for at in (every, some)]
        expected = [torch.cat(right), torch.cat([hidden[at] for hidden, at in zip(right, read, strict=True)])]
        return probe.largest_gap(packed, expected)
    except Exception:  # whatever an architecture's own code raises at packed rows: it does not take them
        return float("inf")
    finally:
        model.train(was_training)


def is_packing(model: Any) -> bool:
    return model.config._attn_implementation == NAME


def shortest(model: Any) -> float:
    """How short a row may be beside its batch's longest (rows.by_length): only a model that does not pack pays for it."""
    return 0.0 if is_packing(model) else 0.6


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: [1, H, N, D] each -> [1, N, H, D]. Without a layout rows are padded, [B, H, T, D]."""
    dropout = dropout if module.training else 0.0
    if layout is None:
        is_plain = not dropout and kwargs.get("softcap") is None and kwargs.get("position_bias") is None
        if is_plain and can_attend_one(query, attention_mask):
            return attend_one(query, key, value, attention_mask, scaling), None
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if not dropout and can_attend_rows(query, key, value):
        return attend_rows(query, key, value, layout.lengths, scaling), None
    return attend_blocks(query, key, value, layout.blocks, dropout, scaling), None


def attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, blocks: list[Block], dropout: float, scale: float | None
) -> Tensor:
    """[1, H, N, D] each -> [1, N, H, D]: rows of like length together, for what is slow at many small calls."""
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]  # [N, H, D]
    found = []
    for block in blocks:
        q, k, v = (
            _spread(part[block.start : block.end], block.slots, block.rows, block.width).transpose(1, 2)
            for part in parts
        )
        # No mask is needed: padding stands on the right, where nothing before it looks.
        out = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale)
        found.append(out.transpose(1, 2).flatten(0, 1)[block.slots])
    return torch.cat(found)[None]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
