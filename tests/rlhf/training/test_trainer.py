"""What the trainer does with its parameters: each is computed again by hand, from the models' own forward passes."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from rlhf.chat import encode_prompt
from rlhf.data import load
from rlhf.models import directories, reward
from rlhf.objectives.kl import adapted_coefficient
from rlhf.params import SamplingParams
from rlhf.sampling.sampler import TorchSampler
from rlhf.training import ppo, ppo_trainer, rollouts
from rlhf.training.ppo_trainer import PPOTrainer

SCALE, KL_COEF = 1.7, 0.3


class Models(NamedTuple):
    policy: Any
    reference: Any
    rm: Any
    value: Any
    words: Any


@pytest.fixture
def models(world) -> Models:
    """The policy is not the reference, and no model is the value model."""
    policy, words = directories.load_policy(world.sft / "epoch-2")
    reference, _ = directories.load_policy(world.rl_start)
    rm, value = (reward.load_reward_model(world.reward_model) for _ in range(2))
    with torch.no_grad():
        for parameter in value.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    for model in (policy, reference, rm.model, value.model):
        model.eval()
    return Models(policy, reference, rm, value.model, words)


@pytest.fixture
def prompts(world, models) -> list[list[int]]:
    return [encode_prompt(models.words, record["messages"]) for record in load.prompts(world.curated, "ppo")][
        :16
    ]


def trainer_of(world, models: Models, ppo_params: dict[str, Any], **settings: Any) -> PPOTrainer:
    params = world.params(ppo={"batch": 16, "minibatch": 4, "episodes": 16, **ppo_params})
    return PPOTrainer(
        models.policy,
        models.value,
        models.reference,
        settings.pop("score", lambda asked, answers: reward.score_rows(models.rm, asked, answers)),
        models.words,
        params.ppo,
        params.compute,
        scale=SCALE,
        **settings,
    )


def collected(models: Models, params: Any, prompts: list[list[int]]) -> Any:
    return rollouts.collect(
        TorchSampler(models.words, params),
        models.policy,
        models.value,
        models.reference,
        lambda asked, answers: reward.score_rows(models.rm, asked, answers),
        models.words,
        prompts,
        params,
        sampling=SamplingParams(),
        kl_coef=KL_COEF,
        scale=SCALE,
        seed=3,
    )


@torch.no_grad()
def alone(model: Any, prompt: list[int], answer: list[int], temperature: float) -> torch.Tensor:
    """log P of an answer's tokens by one plain forward pass."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


@torch.no_grad()
def rewards_before(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """The value of the state before each of an answer's tokens: the head, with the reward's bias, over the scale."""
    hidden = model.model(input_ids=torch.tensor([[*prompt, *answer]])).last_hidden_state[0]
    return (model.score(hidden)[len(prompt) - 1 : -1, 0] + reward.bias_of(model)) / SCALE


CHARGES = {
    "k1": lambda own, other: own - other,
    "k2": lambda own, other: 0.5 * (own - other) ** 2,
    "k3": lambda own, other: (other - own).exp() - 1.0 - (other - own),
}


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": 0.7, "lam": 0.9, "discount": 0.97, "missing_eos_penalty": 0.4},
        {"temperature": 1.3, "lam": 0.5, "kl_estimator": "k2", "whiten_rewards": True},
        {"temperature": 0.7, "lam": 1.0, "kl_estimator": "k3", "whiten_advantages": False},
        {"temperature": 0.7, "discount": 0.8, "whiten_rewards": True, "whiten_advantages": False},
    ],
    ids=lambda chosen: ", ".join(f"{key}={value}" for key, value in chosen.items()),
)
def test_advantages_and_returns_are_those_of_the_equations(world, models, prompts, chosen):
    params = world.params(ppo=chosen).ppo
    found, completions = collected(models, params, prompts)
    rewards, values = [], []
    for prompt, completion in zip(prompts, completions, strict=True):
        own, other = (
            alone(model, prompt, completion.ids, params.temperature)
            for model in (models.policy, models.reference)
        )
        charged = -KL_COEF * CHARGES[params.kl_estimator](own, other)
        score = reward.score_rows(models.rm, [prompt], [completion.ids])[0] / SCALE
        charged[-1] += score - (0.0 if completion.ended else params.missing_eos_penalty)
        rewards.append(charged)
        values.append(rewards_before(models.value, prompt, completion.ids))
    if params.whiten_rewards:
        every = torch.cat(rewards)
        rewards = [(row - every.mean()) / every.std(unbiased=False) + every.mean() for row in rewards]
    advantages = []
    for row, value in zip(rewards, values, strict=True):
        later, ahead, backwards = 0.0, 0.0, []
        for at in reversed(range(len(row))):
            later = (
                float(row[at])
                + params.discount * ahead
                - float(value[at])
                + params.discount * params.lam * later
            )
            ahead = float(value[at])
            backwards.append(later)
        advantages.append(torch.tensor(backwards[::-1]))
    returns = torch.cat([row + value for row, value in zip(advantages, values, strict=True)])
    expected = torch.cat(advantages)
    if params.whiten_advantages:
        expected = (expected - expected.mean()) / expected.std(unbiased=False)
    at = found.batch.is_response
    torch.testing.assert_close(found.values[at], torch.cat(values), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.returns[at], returns, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.advantages[at], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("value_clip", [0.05, None])
def test_the_loss_of_a_minibatch_is_that_of_the_equations(world, models, prompts, value_clip):
    """Where the policy has moved since it sampled, so that both clips bite."""
    trainer = trainer_of(
        world, models, {"clip": 0.1, "value_clip": value_clip, "value_coef": 0.3, "temperature": 0.7}
    )
    params = trainer.params
    found, completions = collected(models, params, prompts)
    with torch.no_grad():
        for model in (models.policy, models.value):
            for parameter in model.parameters():
                parameter.add_(
                    0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
                )
    loss, figures = ppo_trainer.episode_loss(trainer.engine, found, params, SCALE)
    at = found.batch.is_response
    pairs = list(zip(prompts, completions, strict=True))
    own = torch.cat([alone(models.policy, prompt, c.ids, 0.7) for prompt, c in pairs])
    values = torch.cat([rewards_before(models.value, prompt, c.ids) for prompt, c in pairs])
    ratio, advantages = (own - found.logprobs[at]).exp(), found.advantages[at]
    policy_loss = -torch.minimum(ratio * advantages, ratio.clamp(0.9, 1.1) * advantages).mean()
    errors = (values - found.returns[at]) ** 2
    if value_clip is not None:
        before = found.values[at]
        clipped = before + (values - before).clamp(-value_clip, value_clip)
        unclipped, errors = errors, torch.maximum(errors, (clipped - found.returns[at]) ** 2)
        assert bool((errors > unclipped + 1e-6).any())
    value_loss = 0.5 * errors.mean()
    outside = ((ratio - 1.0).abs() > 0.1).float().mean()
    assert 0.05 < float(outside) < 0.95
    assert figures["policy_loss"] == pytest.approx(float(policy_loss), abs=1e-5)
    assert figures["value_loss"] == pytest.approx(float(value_loss), rel=1e-5)
    assert figures["clip_fraction"] == pytest.approx(float(outside), abs=1e-6)
    assert float(loss.detach()) == pytest.approx(float(policy_loss + 0.3 * value_loss), abs=1e-5)


def test_gamma_multiplies_the_gradient_of_the_pretraining_rows(world, models, prompts, monkeypatch):
    """The gradient at gamma less the one at 0 is gamma times that of the rows' mean NLL, by transformers' own loss."""
    rows = np.random.default_rng(0).integers(4, 200, (40, 24)).astype(np.int32)
    gradients = {}
    for gamma in (0.0, 1.0, 2.5):
        trainer = trainer_of(
            world, models, {"ptx_coef": gamma, "ptx_ratio": 0.75, "microbatch_tokens": 30}, pretraining=rows
        )
        found, _ = collected(models, trainer.params, prompts)
        trainer.policy.zero_grad(set_to_none=True)
        trainer.value.zero_grad(set_to_none=True)
        monkeypatch.setattr(trainer.engine, "step", lambda: 0.0)
        trainer.minibatch(rollouts.select(found, [0, 1, 2, 3]))
        gradients[gamma] = {
            name: parameter.grad.clone() for name, parameter in trainer.policy.named_parameters()
        }
    drawn = rows[np.random.default_rng([0, 0]).integers(0, len(rows), 3)].astype(np.int64)
    trainer.policy.zero_grad(set_to_none=True)
    policy, ids = trainer.policy, torch.from_numpy(drawn)
    logits = policy(
        input_ids=ids
    ).logits  # without what is never said, which a loss inside the forward pass would count
    policy.loss_function(logits=logits, labels=ids, vocab_size=policy.config.vocab_size).backward()
    for name, parameter in trainer.policy.named_parameters():
        for gamma in (1.0, 2.5):
            moved = gradients[gamma][name] - gradients[0.0][name]
            torch.testing.assert_close(moved, gamma * parameter.grad, atol=1e-6, rtol=1e-5)


def test_every_inner_epoch_takes_each_episode_once_in_an_order_of_its_own(
    world, models, prompts, monkeypatch
):
    trainer = trainer_of(world, models, {"inner_epochs": 3})
    found, _ = collected(models, trainer.params, prompts)
    seen: list[list[int]] = []

    def minibatch(part):
        seen.append([int(number) for number in part.scores])
        return {"ratio_error": 0.0, "kl_to_behaviour": 0.0}

    monkeypatch.setattr(trainer, "minibatch", minibatch)
    trainer.update(found._replace(scores=torch.arange(16.0)))
    epochs = [[row for part in seen[at : at + 4] for row in part] for at in (0, 4, 8)]
    assert len(seen) == 12 and all(len(rows) == 4 for rows in seen)
    assert all(sorted(epoch) == list(range(16)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_beta_follows_the_kl_and_comes_back_with_a_checkpoint(world, models, prompts, tmp_path):
    trainer = trainer_of(
        world,
        models,
        {"kl_coef": 0.2, "kl_target": 1.0, "kl_horizon": 64, "ptx_coef": 0.0, "temperature": 0.7},
    )
    first, _, _ = trainer.iterate(0, prompts)
    second, _, _ = trainer.iterate(1, prompts)
    adapted = adapted_coefficient(0.2, first["kl"], target=1.0, episodes=16, horizon=64)
    assert first["kl_coef"] == 0.2 and adapted != 0.2
    assert second["kl_coef"] == pytest.approx(adapted)
    later = trainer_of(world, models, {"kl_coef": 0.2, "kl_target": 1.0, "ptx_coef": 0.0})
    state = copy.deepcopy(trainer.state())
    later.restore(state, tmp_path)
    assert later.kl_coef == trainer.kl_coef != 0.2


def test_a_stop_string_ends_the_episodes_that_ppo_learns_from(world, models, prompts):
    trainer = trainer_of(world, models, {"stop": ["yes"], "ptx_coef": 0.0})
    _, found, completions = trainer.iterate(0, prompts * 1)
    stopped = [c for c in completions if "yes" in models.words.decode(c.ids)]
    assert stopped and all(c.ended and "yes" not in c.text for c in stopped)
    assert found.ended.tolist() == [c.ended for c in completions]


def test_bfloat16_does_not_take_the_sampler_s_log_probabilities_for_the_trainer_s(world, models):
    assert TorchSampler(models.words, world.params().ppo).is_exact
    assert not TorchSampler(models.words, world.params(ppo={"dtype": "bfloat16"}).ppo).is_exact


# --- what stops it


class Off:
    """A sampler that says its log-probabilities are the trainer's, and they are not."""

    is_exact = True

    def __init__(self, words, params):
        self.inner = TorchSampler(words, params)
        self.take_weights = self.inner.take_weights

    def sample(self, prompts, *, seed, first=0):
        found = self.inner.sample(prompts, seed=seed, first=first)
        for completion in found:
            completion.logprobs += 0.01
        return found


def test_an_iteration_whose_first_ratio_is_not_one_stops(world, models, prompts):
    params = world.params(ppo={"batch": 16, "minibatch": 4}).ppo
    trainer = trainer_of(
        world,
        models,
        {"ptx_coef": 0.0},
        sampler=Off(models.words, params),
        sampling=SamplingParams(max_gap=0.1),
    )
    with pytest.raises(RuntimeError, match="ratio"):
        trainer.iterate(0, prompts)


def test_a_reward_that_is_no_number_stops_before_anything_is_learnt(world, models, prompts):
    before = copy.deepcopy(models.policy.state_dict())
    trainer = trainer_of(
        world, models, {"ptx_coef": 0.0}, score=lambda asked, _: [float("nan"), *[0.0] * (len(asked) - 1)]
    )
    with pytest.raises(RuntimeError, match="1 of the 16 values of rewards are NaN or infinite"):
        trainer.iterate(0, prompts)
    assert all(torch.equal(before[name], value) for name, value in models.policy.state_dict().items())


def test_a_minibatch_that_the_processes_cannot_share_is_refused_at_once(world, models, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"ppo\.minibatch is 4; 3 processes"):
        trainer_of(world, models, {})


# --- what the stage gives it


def test_every_prompt_comes_once_before_any_comes_again(world, tmp_path):
    words = directories.load_tokenizer(world.base)
    every = sorted(encode_prompt(words, record["messages"]) for record in load.prompts(world.curated, "ppo"))
    job = world.job("ppo", tmp_path, world.for_ppo, ppo={"episodes": 2 * len(every), "batch": 16})
    queue = ppo.prompt_queue(job, words, job.params.ppo)
    first, second = queue[: len(every)], queue[len(every) : 2 * len(every)]
    assert sorted(first) == sorted(second) == every and first != second


def test_iterations_see_new_prompts_and_draw_new_numbers(world, tmp_path, monkeypatch):
    asked, seeds = [], []

    class Watched(TorchSampler):
        def sample(self, prompts, *, seed, first=0):
            asked.append(prompts)
            seeds.append(seed)
            return super().sample(prompts, seed=seed, first=first)

    monkeypatch.setattr(ppo_trainer, "TorchSampler", Watched)
    world.run("ppo", tmp_path, world.for_ppo, ppo={"reward_scale": "none"})
    words = directories.load_tokenizer(world.base)
    job = world.job("ppo", tmp_path, world.for_ppo)
    queue = ppo.prompt_queue(job, words, job.params.ppo)
    assert asked == [queue[:16], queue[16:32]]
    assert len(set(seeds)) == 2


def test_episodes_that_are_kept_show_no_personal_data(world, models, prompts, tmp_path):
    trainer = trainer_of(world, models, {})
    found, completions = collected(models, trainer.params, prompts)
    completions[0].text = "Ask john.roe@corp.org about it."
    ppo.keep_episodes(world.job("ppo", tmp_path, {}), 1, found, completions, trainer)
    kept = (tmp_path / "rollouts.jsonl").read_text()
    assert "about it" in kept and "john.roe" not in kept


def test_rewards_are_over_their_spread_at_the_start(world, tmp_path):
    for choice in ("none", "sd"):
        figures = world.run("ppo", tmp_path / choice, world.for_ppo, ppo={"reward_scale": choice})
        line = world.metrics(tmp_path / choice)[0]
        assert figures["reward_scale"] == pytest.approx(line["reward"] / line["score"], rel=1e-4)
        assert (figures["reward_scale"] == 1.0) == (choice == "none")
