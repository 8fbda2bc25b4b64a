"""Whether a model packs: asked of the model itself on three short rows, not of a list of names.

Some layers drop the layout of packed rows on the way to attention (Nemotron), some hold a state that runs over the ends of rows
(recurrent and hybrid models), some choose frequencies by the longest row of a pass. All of these compute something for packed
rows, and it is wrong without a word.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlhf.models.suitable import longest_row

#: how far numbers of one model, computed in two ways, may be apart: of the largest for hidden states, nats for log-probabilities
TOLERANCE = 1e-4
LENGTHS = (6, 11, 4)


def rows_of(model: Any) -> list[Tensor]:
    """Three rows of random tokens, [T] int64 each, the same for every model of a vocabulary's size."""
    size = model.get_input_embeddings().weight.shape[0]
    longest = longest_row(model.config) or max(LENGTHS)
    generator = torch.Generator().manual_seed(0)
    lengths = [min(length, longest) for length in LENGTHS]
    return [torch.randint(1, size, (length,), generator=generator).to(model.device) for length in lengths]


@torch.no_grad()
def alone(model: Any, rows: list[Tensor]) -> list[Tensor]:
    """[T, d] each: the body's last hidden states of every row by itself, by its own forward pass."""
    return [model.base_model(input_ids=row[None], use_cache=False).last_hidden_state[0] for row in rows]


def largest_gap(these: list[Tensor], those: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number; infinite where something is no number."""
    scale = max(float(part.abs().max()) for part in those)
    gap = max(float((one - other).abs().max()) for one, other in zip(these, those, strict=True))
    return gap / max(scale, 1e-9) if torch.isfinite(torch.tensor([gap, scale])).all() else float("inf")
