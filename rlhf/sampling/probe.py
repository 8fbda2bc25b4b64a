"""How a model decodes: asked of the model itself, by three short rows that are read, continued and retired."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from rlhf.models.packed import is_packing
from rlhf.models.probe import TOLERANCE, rows_of
from rlhf.sampling.cache import Padded, Replayed, Slots

How = Literal["slots", "padded", "replayed"]
#: tokens of each row that are decoded, at most; the rest is its prompt
STEPS = 3
#: nats by which log-probabilities may differ in coarser numbers
ROUNDING = {torch.float32: TOLERANCE, torch.float64: TOLERANCE, torch.bfloat16: 0.1, torch.float16: 0.02}
#: log-probabilities below this are not compared: nobody draws such a token
LIKELY = -20.0


def how(model: Any, pad_id: int) -> How:
    """The fastest way in which `model` decodes right, kept with it. ValueError where none is right."""
    known: dict[str, How] = vars(model).setdefault("_decodes", {})
    attention = model.config._attn_implementation
    if attention not in known:
        known[attention] = _fastest(model, pad_id)
    return known[attention]


def _fastest(model: Any, pad_id: int) -> How:
    bound = ROUNDING[model.dtype]
    if is_packing(model) and decoding_gap(model, pad_id, "slots") <= bound:
        return "slots"
    gap = decoding_gap(model, pad_id, "replayed")  # rows padded on the right, as they are learned from
    if gap > bound:
        raise ValueError(
            f"{type(model).__name__} gives padded rows other probabilities than each row by itself"
            + (f" (up to {gap:.2g} nats)" if gap < float("inf") else ", or does not take them")
            + ": it can be neither sampled from nor trained here"
        )
    return "padded" if decoding_gap(model, pad_id, "padded") <= bound else "replayed"


def keeper(model: Any, pad_id: int, way: How, slots: int, columns: int) -> Slots | Padded | Replayed:
    """What holds the rows that are decoded. slots, columns: rows at a time, and tokens of the longest."""
    if way == "slots":
        return Slots(model, pad_id, slots, columns)
    return Padded(model, pad_id) if way == "padded" else Replayed(model, pad_id)


@torch.no_grad()
def decoding_gap(model: Any, pad_id: int, way: How) -> float:
    """The largest difference, in nats, of log-probabilities decoded in this way from those of the model's own forward pass of
    each row by itself; infinite where the model's code does not take it, or something is no number."""
    was_training = model.training
    model.eval()
    rows = rows_of(model)
    try:
        right = [
            model(input_ids=row[None], use_cache=False).logits[0].float().log_softmax(-1) for row in rows
        ]
        return _decode(model, pad_id, way, rows, right)
    except Exception:  # whatever an architecture's own code raises: it does not decode in this way
        return float("inf")
    finally:
        model.train(was_training)


def _decode(model: Any, pad_id: int, way: How, rows: list[Tensor], right: list[Tensor]) -> float:
    device, gap, steps = model.device, 0.0, min(STEPS, min(map(len, rows)) - 1)
    at = torch.tensor([len(row) - steps for row in rows], device=device)  # the next token of each row
    held = keeper(model, pad_id, way, len(rows), max(map(len, rows)) + 1)

    def compare(logits: Tensor) -> None:
        nonlocal gap
        for place, (row, mine) in enumerate(zip(right, logits.float().log_softmax(-1), strict=True)):
            theirs = row[at[place] - 1]
            apart = (mine - theirs).abs()[theirs > LIKELY].max()
            gap = max(gap, float(apart)) if torch.isfinite(apart) else float("inf")

    prompts = [row[:-steps].tolist() for row in rows]
    compare(held.read(prompts, torch.arange(len(rows), device=device)))
    for step in range(steps):
        if step == 1:  # the first row ends: the last takes its place
            kept = torch.tensor([2, 1], device=device)
            held.keep(kept)
            rows, right, at = [rows[2], rows[1]], [right[2], right[1]], at[kept]
        tokens = torch.stack([row[place] for row, place in zip(rows, at.tolist(), strict=True)])
        logits, at = held.step(tokens, at), at + 1
        compare(logits)
    if isinstance(held, Slots):  # a prompt into a slot while another row goes on
        logits = held.read(prompts[:1], torch.tensor([1], device=device))
        rows, right = rows_of(model)[:1], [right[0], *right]
        first = model(input_ids=rows[0][None], use_cache=False).logits[0].float().log_softmax(-1)
        gap = max(gap, float((logits[0].float().log_softmax(-1) - first[len(prompts[0]) - 1]).abs().max()))
    return gap
