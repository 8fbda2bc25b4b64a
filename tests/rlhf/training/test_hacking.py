"""A reward model that PPO is not trained towards tells when the other is being exploited."""

import random
from functools import partial

import pytest

from rlhf.chat import encode_prompt
from rlhf.data import load
from rlhf.models import directories, reward
from rlhf.training.hacking import Watch, alarm
from rlhf.training.ppo_trainer import PPOTrainer


def seen(pairs):
    watch = Watch()
    for trained, held_out in pairs:
        figures = watch.see([trained - 1.0, trained + 1.0], [held_out - 2.0, held_out + 2.0])
    return figures


def test_gains_are_counted_in_standard_deviations_of_the_start():
    figures = seen([(0.0, 5.0), *[(3.0, 7.0)] * 40])
    assert figures["reward_gain"] == pytest.approx(3.0, abs=1e-3)
    assert figures["held_out_gain"] == pytest.approx(1.0, abs=1e-3)
    assert figures["held_out_reward"] == pytest.approx(7.0)
    assert figures["reward_correlation"] == pytest.approx(1.0)


def test_an_alarm_needs_a_gain_that_the_held_out_reward_does_not_follow():
    assert alarm(seen([(0.0, 0.0), *[(1.0, 2.0)] * 40])) is None  # both rise by one
    assert alarm(seen([(0.0, 0.0), *[(0.3, -2.0)] * 40])) is None  # too little has happened
    assert alarm({}) is None  # no second model
    sentence = alarm(seen([(0.0, 0.0), *[(1.0, 0.5)] * 40]))
    assert sentence is not None and "1.00 standard deviations" in sentence and "0.25" in sentence


def test_what_was_seen_survives_a_checkpoint():
    draw = random.Random(0)
    batches = [[[draw.gauss(step, 1) for _ in range(8)] for _ in "ab"] for step in range(6)]
    whole, first, second = Watch(), Watch(), Watch()
    figures = [whole.see(*batch) for batch in batches]
    for batch in batches[:3]:
        first.see(*batch)
    second.restore(first.state())
    assert [second.see(*batch) for batch in batches[3:]] == figures[3:]


def test_the_held_out_model_is_trained_on_other_rankings_and_watches_ppo(world, tmp_path):
    figures = world.run(
        "reward_model", tmp_path / "rm", world.for_reward_model, reward_model={"held_out_share": 0.25}
    )
    whole = world.figures["reward_model"] if world.reward_model else {}
    assert figures["held_out_comparisons"] + figures["comparisons"] == whole["comparisons"]
    assert figures["held_out_comparisons"] == round(0.25 * whole["comparisons"])
    rm, other = (reward.load_reward_model(tmp_path / "rm" / name) for name in ("model", "model/held_out"))
    prompts, answers = [[5, 6, 7]] * 2, [[8, 9], [10, 11, 12]]
    assert reward.score_rows(rm, prompts, answers) != reward.score_rows(other, prompts, answers)
    world.run("ppo", tmp_path / "ppo", {**world.for_ppo, "reward_model": tmp_path / "rm/model"})
    for line in world.metrics(tmp_path / "ppo"):
        assert {"held_out_reward", "reward_gain", "held_out_gain", "reward_correlation"} <= line.keys()


def test_a_reward_that_means_nothing_raises_the_alarm(world):
    """Trained towards tokens of odd number, which the held-out reward counts against an answer."""

    def odd(prompts, answers):
        return [float(sum(token % 2 for token in answer)) for answer in answers]

    params = world.params(
        ppo={"kl_coef": 0.0, "batch": 32, "minibatch": 8, "ptx_coef": 0.0, "lr": 5e-3, "reward_scale": "none"}
    )
    policy, words = directories.load_policy(world.rl_start)
    reference, _ = directories.load_policy(world.rl_start)
    value = reward.load_reward_model(world.reward_model).model
    for model in (policy, reference, value):
        model.eval()
    trainer = PPOTrainer(
        policy,
        value,
        reference,
        odd,
        words,
        params.ppo,
        params.compute,
        held_out_score=lambda prompts, answers: [-count for count in odd(prompts, answers)],
    )
    asked = [encode_prompt(words, record["messages"]) for record in load.prompts(world.curated, "ppo")]
    queue = partial(random.Random(0).choices, asked, k=32)
    figures = [trainer.iterate(iteration, queue())[0] for iteration in range(12)]
    assert alarm(figures[0]) is None and figures[0]["reward_correlation"] == pytest.approx(-1.0)
    assert alarm(figures[-1]) is not None
