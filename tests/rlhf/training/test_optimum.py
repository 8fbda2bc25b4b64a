"""The optimum of the KL-regularised objective is known in closed form: PPO finds it."""

import pytest
import torch

from benchmarks.optimum import Task, solve


def test_the_closed_form_is_the_optimum():
    """π* ∝ π_ref·exp(r/β) has the objective that the formula gives, and no other policy tried has more."""
    task, beta = Task(0, tokens=3, length=2), 0.5
    best = task.log_reference + task.rewards / beta
    best = best - best.logsumexp(0)
    assert task.objective(best, beta) == pytest.approx(task.optimum(beta), abs=1e-5)
    assert task.share_of_optimum(task.log_reference, beta) == 0.0
    for _ in range(20):
        other = (best + 0.3 * torch.randn_like(best)).log_softmax(0)
        assert task.objective(other, beta) < task.optimum(beta)


@pytest.mark.parametrize(("seed", "beta"), [(0, 0.1), (1, 0.1), (2, 0.3), (3, 1.0)])
def test_ppo_goes_98_percent_of_the_way(seed, beta):
    """`python -m benchmarks.optimum` does so on more sequences and seeds."""
    torch.set_num_threads(1)
    assert solve(seed, beta, tokens=3, length=2, iterations=80, batch=128, lr=2e-3) >= 0.98


@pytest.mark.parametrize(("seed", "beta"), [(0, 0.3), (1, 1.0)])
def test_a_stale_engine_with_importance_weights_goes_as_far(seed, beta):
    """Every second iteration is sampled from the weights before the last update."""
    torch.set_num_threads(1)
    assert solve(seed, beta, tokens=3, length=2, iterations=80, batch=128, lr=2e-3, stale=1) >= 0.98
