"""How far a policy moved from where reinforcement learning began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf import distributed
from rlhf.models.policy import response_logprobs
from rlhf.objectives.kl import k1
from rlhf.sampling.engine import Completion


def response_kl(
    policy: Any, reference: Any, completions: Sequence[Completion], *, pad_id: int, temperature: float
) -> NDArray[np.float64]:
    """[N] Σ_t log π - log π_ref over each response, nats: its mean estimates KL(π ‖ π_ref) a response.

    completions: sampled from `policy` at `temperature`, which divides the logits here too. Both models read
    whole rows, so that nothing of the sampling (cache, batches) enters.
    """

    def moved(rows: list[int]) -> list[float]:
        prompts, responses = (
            [completions[row].prompt_ids for row in rows],
            [completions[row].ids for row in rows],
        )
        own = response_logprobs(policy, prompts, responses, pad_id=pad_id, temperature=temperature)
        other = response_logprobs(reference, prompts, responses, pad_id=pad_id, temperature=temperature)
        return [float(k1(a, b).sum()) for a, b in zip(own, other, strict=True)]

    return np.array(distributed.deal_rows(len(completions), moved))
