"""Truncated importance weights."""

from __future__ import annotations

import torch

from rlhf.objectives.importance import truncated_weights
from rlhf.objectives.ppo import policy_loss

IS_RESPONSE = torch.tensor([[False, True, True, True]])


def test_the_same_distribution_needs_no_weight():
    logprobs = torch.tensor([[0.0, -1.0, -2.0, -3.0]], requires_grad=True)
    weights = truncated_weights(logprobs, logprobs, IS_RESPONSE, cap=2.0)
    assert torch.equal(weights, torch.ones(1, 4)) and not weights.requires_grad


def test_weights_are_ratios_up_to_the_cap_and_junk_outside_counts_for_nothing():
    mine = torch.log(torch.tensor([[0.5, 0.2, 0.9, 0.1]]))
    engine = torch.log(torch.tensor([[0.0, 0.4, 0.1, 0.1]]))
    weights = truncated_weights(mine, engine, IS_RESPONSE, cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.5, 2.0, 1.0]]))


def test_untruncated_weights_make_the_gradient_that_of_the_policy_itself():
    """E_mu[w A grad log pi] = E_pi[A grad log pi], summed over every token of a small vocabulary."""
    policy = torch.tensor([0.1, 0.2, -0.3, 0.5], requires_grad=True)
    engine, advantages = (
        torch.tensor([1.0, -1.0, 0.5, 0.0]).log_softmax(0),
        torch.tensor([1.0, -2.0, 0.5, 3.0]),
    )
    every = torch.ones(1, 4, dtype=torch.bool)

    def gradient(drawn_from, weights):
        logprobs = policy.log_softmax(0)[None]
        loss = policy_loss(
            logprobs, logprobs.detach(), advantages * drawn_from.exp() * 4, every, clip=10.0, weights=weights
        )
        return torch.autograd.grad(loss, policy)[0]

    mine = policy.log_softmax(0).detach()
    weights = truncated_weights(mine[None], engine[None], every, cap=1e9)
    torch.testing.assert_close(gradient(engine, weights), gradient(mine, None))
