"""How far the engine that samples is from the policy that is trained, and what is likely wrong where it is too far.

Both say log π of every sampled token. Rounding sets them apart by 1e-6 nats in float32 and by a few hundredths in bfloat16; old
weights, another temperature, top-p or a bare output matrix by more, and then PPO learns from a distribution that is not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlhf import distributed
from rlhf.models.policy import response_logits, response_logprobs
from rlhf.models.rows import pad
from rlhf.sampling.engine import Completion

#: nats a token that the two may be apart on average, where params do not say: docs/algorithm.md has what rounding alone makes
MAX_GAP = {"float32": 1e-3, "bfloat16": 0.05}
#: rows on which an engine that shares the trainer's weights and numbers is checked, and on which a cause is looked for
CHECKED_ROWS = 8
#: a cause explains a gap that it leaves at most this share of
EXPLAINED = 0.2
NUCLEI = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99]


class Gap(NamedTuple):
    """Of the engine's log-probabilities less the trainer's, over sampled tokens, nats."""

    mean: float  # of the sizes
    largest: float  # of the sizes
    drift: float  # the mean itself: an estimate of KL(engine || trainer) a token


def gap_of(completions: Sequence[Completion], recomputed: Sequence[Tensor]) -> Gap:
    """Over the tokens of every process. recomputed: [len(completion.ids)] a row, the trainer's log π."""
    rows = [
        c.logprobs.cpu().double() - own.cpu().double() for c, own in zip(completions, recomputed, strict=True)
    ]
    apart = torch.cat([row for row in rows if len(row)] or [torch.zeros(0, dtype=torch.double)])
    sums = distributed.mean(
        {"tokens": float(len(apart)), "sizes": float(apart.abs().sum()), "sum": float(apart.sum())}
    )
    tokens = max(sums["tokens"], 1e-9)
    largest = distributed.largest(float(apart.abs().max()) if len(apart) else 0.0)
    return Gap(sums["sizes"] / tokens, largest, sums["sum"] / tokens)


def require_close(gap: Gap, limit: float, cause: Callable[[], str]) -> None:
    """Raise RuntimeError, before anything is learned from the samples, where the mean gap is over the limit or no number.

    cause() names what explains it best; it is asked only then.
    """
    if not gap.mean <= limit:
        raise RuntimeError(
            f"the sampling engine's log-probabilities are {gap.mean:.2g} nats a token from the policy's (allowed: "
            f"sampling.max_gap, {limit:g}; largest {gap.largest:.2g}): {cause()}"
        )


@torch.no_grad()
def likely_cause(
    policy: Any, start: Any, completions: Sequence[Completion], *, pad_id: int, temperature: float
) -> str:
    """Which fault would make an engine say the numbers that it said. start: the model that PPO began from."""
    rows = [completion for completion in completions if completion.ids][:CHECKED_ROWS]
    said = torch.cat([completion.logprobs.cpu() for completion in rows])
    before = _apart(said, _own(policy, rows, pad_id, temperature))
    found = min(_causes(policy, start, rows, said, pad_id, temperature), key=lambda cause: cause[0])
    if found[0] <= max(EXPLAINED * before, 1e-9):
        return found[1]
    return "it draws from other weights than the policy's: those before an update, or of another model"


def _causes(
    policy: Any, start: Any, rows: Sequence[Completion], said: Tensor, pad_id: int, temperature: float
) -> Iterator[tuple[float, str]]:
    """(what is left of the gap, a sentence) of each fault that is known."""
    prompts, answers = [row.prompt_ids for row in rows], [row.ids for row in rows]
    batch = pad(prompts, answers, pad_id, policy.device)
    logits = response_logits(policy, batch, 1.0).cpu()
    chosen = batch.ids[batch.is_response].cpu()

    def at(logits: Tensor, temperature: float) -> Tensor:
        return (logits / temperature).log_softmax(-1).gather(1, chosen[:, None])[:, 0]

    grid = torch.cat([torch.arange(0.1, 2.0, 0.05), torch.arange(2.0, 5.0, 0.25)]).tolist()
    best = min(grid, key=lambda t: _apart(said, at(logits, t)))
    best = min(
        [best + step for step in (-0.02, -0.01, 0.0, 0.01, 0.02)], key=lambda t: _apart(said, at(logits, t))
    )
    yield _apart(said, at(logits, best)), f"it samples at temperature {best:.2f}, and not at {temperature:g}"

    own = at(logits, temperature)
    probabilities = (logits / temperature).softmax(-1).sort(-1, descending=True).values
    before = probabilities.cumsum(-1) - probabilities  # of the tokens that are likelier
    for share in NUCLEI:
        mass = (probabilities * (before < share)).sum(-1)
        yield _apart(said, own - mass.log()), f"it leaves out unlikely tokens (top-p {share:g}, or its like)"

    seen: list[Tensor] = []
    head = policy.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    response_logits(policy, batch, 1.0)
    hook.remove()
    bare = head(seen[0]).float().flatten(0, -2).cpu()
    if len(bare) == len(chosen):
        yield (
            _apart(said, at(bare, temperature)),
            "it takes the output matrix's own logits, without the cap or the scale that the model puts on them",
        )
    first = torch.cat(response_logprobs(start, prompts, answers, pad_id=pad_id, temperature=temperature))
    yield _apart(said, first), "it draws from old weights, those that PPO began from"


def _own(policy: Any, rows: Sequence[Completion], pad_id: int, temperature: float) -> Tensor:
    prompts, answers = [row.prompt_ids for row in rows], [row.ids for row in rows]
    return torch.cat(response_logprobs(policy, prompts, answers, pad_id=pad_id, temperature=temperature))


def _apart(said: Tensor, other: Tensor) -> float:
    return float((said - other).abs().mean())
