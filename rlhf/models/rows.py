"""Rows of token ids to padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Right-padded rows of prompt and response."""

    ids: Tensor  # [B, T] int64
    is_real: Tensor  # [B, T] bool, False on padding
    is_response: Tensor  # [B, T] bool, True on response tokens (EOS included)


def pad(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """Prompt and response of each row, one after the other, padded on the right to the longest."""
    rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    starts, ends = torch.tensor([len(prompt) for prompt in prompts]), torch.tensor([len(row) for row in rows])
    width = int(ends.max())
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    is_real = torch.arange(width) < ends[:, None]
    is_response = is_real & (torch.arange(width) >= starts[:, None])
    return Batch(ids.to(device), is_real.to(device), is_response.to(device))


def tokens_at_once(device: torch.device) -> int:
    """Tokens a forward pass: so few on a CPU that its caches hold what is computed of them."""
    return 2048 if device.type == "cpu" else 16384


def by_length(lengths: Sequence[int], max_tokens: int, least: float = 0.6) -> Iterator[list[int]]:
    """Row numbers in groups of similar length, longest first: each row is at least the share `least` as long as its
    group's longest, and the padded size stays within `max_tokens` (one row at least)."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[group[0]] if group else 0
        if group and ((len(group) + 1) * longest > max_tokens or lengths[row] < least * longest):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def in_order(groups: Sequence[Sequence[int]], found: Sequence[Sequence[Any]]) -> list[Any]:
    """What was found for each row of each group, in the order of the rows. The groups hold 0 .. N-1, each once."""
    placed = {
        row: one
        for rows, ones in zip(groups, found, strict=True)
        for row, one in zip(rows, ones, strict=True)
    }
    return [placed[row] for row in range(len(placed))]
