"""Identities of the equations, not echoes of the code."""

import itertools
import math

import pytest
import torch

from rlhf.objectives.gae import gae
from rlhf.objectives.kl import ESTIMATORS, adapted_coefficient, k1, k3
from rlhf.objectives.masked import masked_mean
from rlhf.objectives.ppo import explained_variance, policy_loss, token_rewards, value_loss
from rlhf.objectives.ptx import ptx_loss
from rlhf.objectives.ranking import has_untied_pair, pairwise_accuracy, ranking_loss
from rlhf.training.rollouts import whiten_together


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def response_mask(lengths: list[int], width: int, start: int = 2) -> torch.Tensor:
    columns = torch.arange(width)
    return torch.stack([(columns >= start) & (columns < start + n) for n in lengths])


def test_lambda_one_is_monte_carlo_minus_value(draw):
    is_response = response_mask([5, 3, 1], 9)
    rewards, values = torch.randn(2, 3, 9, generator=draw)
    advantages = gae(rewards, values, is_response, discount=0.9, lam=1.0)
    for row, length in enumerate([5, 3, 1]):
        for t in range(2, 2 + length):
            to_come = sum(0.9 ** (u - t) * rewards[row, u] for u in range(t, 2 + length))
            assert advantages[row, t] == pytest.approx(float(to_come - values[row, t]), abs=1e-5)


def test_lambda_zero_is_the_one_step_error(draw):
    is_response = response_mask([4], 7)
    rewards, values = torch.randn(2, 1, 7, generator=draw)
    advantages = gae(rewards, values, is_response, discount=1.0, lam=0.0)
    assert advantages[0, 3] == pytest.approx(float(rewards[0, 3] + values[0, 4] - values[0, 3]), abs=1e-6)
    assert advantages[0, 5] == pytest.approx(
        float(rewards[0, 5] - values[0, 5]), abs=1e-6
    )  # nothing after the last


def test_what_stands_outside_the_response_changes_no_bit(draw):
    is_response = response_mask([5, 2], 8)
    rewards, values, old, new = torch.randn(4, 2, 8, generator=draw)
    junk = torch.where(is_response, 0.0, float("nan"))

    def losses(noise: torch.Tensor) -> list[torch.Tensor]:
        advantages = gae(rewards + noise, values + noise, is_response, discount=1.0, lam=0.95)
        return [
            advantages,
            whiten_together(advantages, is_response),
            policy_loss(new + noise, old + noise, advantages, is_response, clip=0.2),
            value_loss(values + noise, values + noise, advantages, is_response, clip=0.2),
            masked_mean(rewards + noise, is_response),
            token_rewards(torch.tensor([1.0, -2.0]), rewards + noise, is_response, kl_coef=0.1),
        ]

    for clean, dirty in zip(losses(torch.zeros_like(junk)), losses(junk), strict=True):
        assert torch.equal(clean, dirty)


def test_a_ratio_of_one_clips_nothing_and_gives_the_policy_gradient(draw):
    is_response = response_mask([4, 4], 8)
    old, advantages = torch.randn(2, 2, 8, generator=draw)
    new = old.clone().requires_grad_()
    loss = policy_loss(new, old, advantages, is_response, clip=0.2)
    loss.backward()
    assert loss.detach() == pytest.approx(-float(masked_mean(advantages, is_response)), abs=1e-6)
    assert torch.allclose(new.grad, -(advantages * is_response) / is_response.sum(), atol=1e-7)


def test_clipping_stops_the_gradient_only_where_the_step_would_help():
    is_response = torch.ones(1, 4, dtype=torch.bool)
    log_ratio = torch.tensor([[0.5, 0.5, -0.5, -0.5]]).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    policy_loss(log_ratio, torch.zeros(1, 4), advantages, is_response, clip=0.2).backward()
    assert (log_ratio.grad[0] != 0).tolist() == [False, True, True, False]


def test_the_score_stands_on_the_last_response_token(draw):
    is_response = response_mask([1, 3, 6], 8)
    scores = torch.tensor([5.0, -1.0, 2.0])
    rewards = token_rewards(scores, torch.zeros(3, 8), is_response, kl_coef=0.5)
    assert torch.equal(rewards.sum(1), scores)
    assert [int(row.nonzero()[0]) for row in rewards] == [2, 4, 7]


def test_kl_is_charged_per_token(draw):
    is_response = response_mask([3], 6)
    kl = torch.randn(1, 6, generator=draw)
    rewards = token_rewards(torch.tensor([2.0]), kl, is_response, kl_coef=0.3)
    assert float(rewards.sum()) == pytest.approx(2.0 - 0.3 * float(kl[is_response].sum()), abs=1e-6)


def test_k3_is_never_negative_and_agrees_with_k1_in_the_mean(draw):
    policy, reference = torch.randn(2, 6, generator=draw).log_softmax(-1)
    exact = float((policy.exp() * (policy - reference)).sum())
    assert (k3(policy, reference) >= 0).all()
    assert float((policy.exp() * k1(policy, reference)).sum()) == pytest.approx(exact, abs=1e-6)
    assert float((policy.exp() * k3(policy, reference)).sum()) == pytest.approx(exact, abs=1e-6)


def test_the_gradient_of_what_is_charged_is_that_of_the_kl_for_k1_alone():
    """E[k ∇log π] with k a constant, over all tokens. k3 makes the token that has become too rare rarer still."""
    reference = torch.tensor([0.5, 0.3, 0.2]).log()
    logits = torch.tensor([0.6, 0.3, 0.1]).log().requires_grad_()
    logprobs = torch.log_softmax(logits, 0)
    (exact,) = torch.autograd.grad((logprobs.exp() * (logprobs - reference)).sum(), logits, retain_graph=True)
    charged = {}
    for name, estimate in ESTIMATORS.items():
        cost = estimate(logprobs, reference).detach()
        (charged[name],) = torch.autograd.grad(
            (logprobs.exp().detach() * logprobs * cost).sum(), logits, retain_graph=True
        )
    torch.testing.assert_close(charged["k1"], exact)
    assert exact[2] < 0 < charged["k3"][2]


def test_an_adapted_beta_follows_the_kl_by_at_most_a_fifth_a_horizon():
    at = {"target": 6.0, "episodes": 100, "horizon": 1000}
    assert adapted_coefficient(0.2, 6.0, **at) == 0.2
    assert adapted_coefficient(0.2, 6.6, **at) == pytest.approx(0.2 * 1.01)
    assert adapted_coefficient(0.2, 60.0, **at) == pytest.approx(0.2 * 1.02)
    assert adapted_coefficient(0.2, -3.0, **at) == pytest.approx(0.2 * 0.98)


def test_every_estimator_is_zero_where_the_policies_agree(draw):
    same = torch.randn(3, 4)
    for estimator in ESTIMATORS.values():
        assert torch.equal(estimator(same, same), torch.zeros(3, 4))
    assert torch.equal(ESTIMATORS["k2"](same + 0.5, same).round(decimals=5), torch.full((3, 4), 0.125))


def test_whitened_values_have_mean_zero_and_sd_one(draw):
    is_counted = response_mask([6, 2], 9)
    values = 3.0 + 5.0 * torch.randn(2, 9, generator=draw)
    kept = whiten_together(values, is_counted)[is_counted]
    assert float(kept.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(kept.std(unbiased=False)) == pytest.approx(1.0, abs=1e-4)
    with_mean = whiten_together(values, is_counted, shift_mean=False)[is_counted]
    assert float(with_mean.mean()) == pytest.approx(float(values[is_counted].mean()), abs=1e-4)


def test_ranking_loss_is_the_mean_over_untied_pairs():
    scores, ranks = torch.tensor([0.3, -1.0, 2.0, 0.1]), torch.tensor([2, 3, 1, 2])
    pairs = [(w, x) for w, x in itertools.permutations(range(4), 2) if ranks[w] < ranks[x]]
    by_hand = sum(math.log1p(math.exp(float(scores[x] - scores[w]))) for w, x in pairs) / len(pairs)
    assert len(pairs) == 5  # six pairs, one tied
    assert float(ranking_loss(scores, ranks)) == pytest.approx(by_hand, abs=1e-6)
    assert pairwise_accuracy(scores, ranks) == (5, 5)


def test_ranking_loss_depends_on_differences_alone():
    scores, ranks = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([1, 2, 3])
    assert float(ranking_loss(scores + 7.0, ranks)) == pytest.approx(
        float(ranking_loss(scores, ranks)), abs=1e-5
    )
    assert float(ranking_loss(torch.zeros(3), ranks)) == pytest.approx(math.log(2.0))


def test_a_prompt_of_ties_gives_no_gradient():
    scores, ranks = torch.randn(3, requires_grad=True), torch.tensor([1, 1, 1])
    assert not has_untied_pair(ranks)
    ranking_loss(scores, ranks).backward()
    assert torch.equal(scores.grad, torch.zeros(3))


def test_value_clipping_never_lowers_the_loss(draw):
    is_response = response_mask([5, 5], 8)
    values, old, returns = torch.randn(3, 2, 8, generator=draw)
    free = value_loss(values, old, returns, is_response, clip=None)
    assert value_loss(values, old, returns, is_response, clip=0.2) >= free
    assert value_loss(values, old, returns, is_response, clip=1e9) == free


def test_explained_variance_of_perfect_and_of_constant_values(draw):
    is_response = response_mask([5, 5], 8)
    returns = torch.randn(2, 8, generator=draw)
    assert float(explained_variance(returns, returns, is_response)) == pytest.approx(1.0)
    assert float(explained_variance(torch.zeros(2, 8), returns, is_response)) == pytest.approx(0.0, abs=1e-6)
    assert torch.isnan(explained_variance(returns, torch.ones(2, 8), is_response)), "undefined, and not -1e8"


def test_ptx_is_a_plain_language_model_loss_without_padding(draw):
    logits = torch.randn(2, 6, 11, generator=draw, requires_grad=True)
    ids = torch.randint(0, 11, (2, 6), generator=draw)
    is_real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    loss = ptx_loss(logits, ids, is_real)
    logprobs = logits.log_softmax(-1)
    by_hand = [-logprobs[b, t, ids[b, t + 1]] for b in range(2) for t in range(5) if is_real[b, t + 1]]
    assert loss.detach() == pytest.approx(float(sum(by_hand).detach()) / len(by_hand), abs=1e-5)
