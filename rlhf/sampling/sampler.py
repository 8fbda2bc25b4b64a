"""What PPO asks of the engine that writes its episodes: ours, or one that holds a copy of the weights of its own.

An engine that runs elsewhere (vLLM, say) implements the same two methods: `take_weights` copies the policy's weights to
it, once an iteration, and `sample` draws from them. Its log-probabilities come from other kernels; with `is_exact` False
the trainer computes them again, so that the first ratio is 1. How far the two are apart is measured and bounded
(rlhf/sampling/gap.py).
"""

from __future__ import annotations

from typing import Any, Protocol

from rlhf.params import PPOParams
from rlhf.sampling.engine import Completion, sample_ids


class Sampler(Protocol):
    #: True where its log-probabilities are those that the trainer would compute
    is_exact: bool

    def take_weights(self, policy: Any) -> None:
        """From now on, draw from `policy` as it is. Every process calls it, with all weights in place."""

    def sample(self, prompts: list[list[int]], *, seed: int, first: int = 0) -> list[Completion]:
        """One completion a prompt of this process, with log π of each of its tokens at the sampling temperature.

        seed: the same on every process; first: the number of this one's first prompt among those of all.
        """


class TorchSampler:
    """The engine of rlhf/sampling/engine.py, on the trainer's own weights.

    Decoding and training are other kernels: they agree to rounding, which in bfloat16 is too much for a ratio.
    """

    def __init__(self, tokenizer: Any, params: PPOParams) -> None:
        self.tokenizer, self.params, self.policy = tokenizer, params, None
        self.is_exact = params.dtype == "float32"

    def take_weights(self, policy: Any) -> None:
        self.policy = policy

    def sample(self, prompts: list[list[int]], *, seed: int, first: int = 0) -> list[Completion]:
        return sample_ids(
            self.policy,
            self.tokenizer,
            prompts,
            max_new_tokens=self.params.max_new_tokens,
            temperature=self.params.temperature,
            seed=seed,
            first=first,
            stop=self.params.stop,
        )
