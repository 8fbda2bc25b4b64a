"""The loop that decodes: a token a row at a time; a row that ends makes room for the next prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlhf.sampling.probe import how, keeper

#: rows that have ended are replaced once they are this share: several prompts are read at the price of one
RETIRED = 0.2


class Answers:
    """What has been drawn, a row an answer; past its length a row holds junk."""

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        numbers: Tensor,
        temperature: float,
        stop: Sequence[str],
        device: torch.device,
    ) -> None:
        """ends: ids that end an answer; numbers: [N, room] in [0, 1), what each token is drawn by."""
        rows, self.room = numbers.shape
        self.tokenizer, self.temperature, self.stop = tokenizer, temperature, stop
        self.ends = torch.tensor(ends, device=device)
        # A column more than there is room for: rows that have ended are drawn on until they are replaced.
        self.numbers = torch.cat([numbers, torch.zeros(rows, 1)], dim=1).to(device)
        self.ids = torch.zeros((rows, self.room + 1), dtype=torch.int64, device=device)
        self.logprobs = torch.zeros((rows, self.room + 1), device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)

    def extend(self, rows: Tensor, is_open: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """A token more for answers `rows` [B], of which those `is_open` [B] go on. logits: [B, V].

        Returns the tokens [B], and which answers are open still [B].
        """
        logprobs = torch.log_softmax(logits.float() / self.temperature, dim=-1)
        before = self.lengths[rows]
        tokens = draw(logprobs, self.numbers[rows, before])
        self.ids[rows, before] = tokens
        self.logprobs[rows, before] = logprobs.gather(1, tokens[:, None])[:, 0]
        self.lengths[rows] = length = before + is_open
        ends = is_open & (torch.isin(tokens, self.ends))
        if self.stop:
            ends |= is_open & self._stopped(rows, length)
        self.ended[rows] |= ends
        return tokens, is_open & ~ends & (length < self.room)

    def _stopped(self, rows: Tensor, length: Tensor) -> Tensor:
        """[B] bool: a stop string stands at the end of what was drawn, whose tokens are at least a byte each."""
        last = (
            max(len(end.encode()) for end in self.stop) + 4
        )  # the first of them may begin inside a character
        ids = zip(self.ids[rows].tolist(), length.tolist(), strict=True)
        texts = [self.tokenizer.decode(row[max(0, n - last) : n], skip_special_tokens=True) for row, n in ids]
        return torch.tensor([any(end in text for end in self.stop) for text in texts], device=rows.device)


def decode(
    model: Any,
    pad_id: int,
    prompts: list[list[int]],
    answers: Answers,
    slots: int,
    on_ended: Callable[[int], None] | None = None,
) -> None:
    """Fill `answers`, one a prompt, `slots` rows at a time; a model that does not decode in slots reads all prompts at once.

    on_ended(n) is told of n more answers that have ended.
    """
    device = model.device
    slots = min(slots, len(prompts))
    prompt_lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    held = keeper(model, pad_id, how(model, pad_id), slots, int(prompt_lengths.max()) + answers.room)
    rows = torch.zeros(slots, dtype=torch.int64, device=device)  # which answer stands in each slot
    tokens = torch.zeros_like(rows)
    is_open = torch.zeros_like(rows, dtype=torch.bool)
    begun = ended = 0
    while True:
        closed = torch.nonzero(~is_open)[:, 0]
        left = len(rows) - len(closed)
        if on_ended is not None and begun - left > ended:
            on_ended(begun - left - ended)
            ended = begun - left
        if len(closed) and left <= (1 - RETIRED) * len(rows):
            fresh = closed[: len(prompts) - begun]
            if len(fresh):
                end = begun + len(fresh)
                rows[fresh] = torch.arange(begun, end, device=device)
                logits = held.read(prompts[begun:end], fresh)
                tokens[fresh], is_open[fresh] = answers.extend(rows[fresh], ~is_open[fresh], logits)
                begun = end
                continue
            if not left:
                return
            kept = torch.arange(left, device=device)
            kept[closed[closed < left]] = torch.nonzero(is_open[left:])[:, 0] + left
            held.keep(kept)
            rows, tokens, is_open = rows[kept], tokens[kept], is_open[kept]
        logits = held.step(tokens, prompt_lengths[rows] + answers.lengths[rows] - 1)
        tokens, is_open = answers.extend(rows, is_open, logits)


def draw(logprobs: Tensor, numbers: Tensor) -> Tensor:
    """A token a row by inverting the cumulative distribution. logprobs: [B, V]; numbers: [B] in [0, 1). [B] int64."""
    cumulative = logprobs.exp().cumsum(dim=-1)
    found = torch.searchsorted(cumulative, numbers[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return found.clamp(max=logprobs.shape[-1] - 1)
