"""Win rates and their intervals: identities, and the coverage that 95 % promises."""

import math

import numpy as np
import pytest

from rlhf.evaluation.win_rate import (
    Resampling,
    mean_interval,
    ratio_interval,
    text,
    win_rate,
    wins,
    wins_each,
)

AT = Resampling(resamples=400, seed=0)


def test_a_policy_against_itself_wins_half_with_certainty():
    scores = np.random.default_rng(0).random(50)
    assert win_rate(scores, scores, AT) == [0.5, 0.5, 0.5]


def test_both_sides_share_one():
    a, b = np.random.default_rng(1).integers(0, 4, (2, 200))
    there, back = win_rate(a, b, AT), win_rate(b, a, AT)
    assert there[1] + back[1] == pytest.approx(1)
    assert there[0] == pytest.approx(1 - back[2])


def test_wins_losses_and_ties():
    assert wins([2, 1, 1], [1, 1, 2]).tolist() == [1, 0.5, 0]
    assert wins([4.8241331, 4.82], [4.8241332, 4.83]).tolist() == [0.5, 0]  # float32's last digit is no win
    with pytest.raises(AssertionError, match="same prompts"):
        wins([1], [1, 2])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        low, _, high = mean_interval(draw.random(120) < 0.6, AT)
        covered += low <= 0.6 <= high
    assert 0.91 < covered / 300 < 0.98


def test_where_a_user_has_several_prompts_the_interval_covers_as_often_too():
    """Users of skewed activity, each with a taste of its own: resampled by prompt, the interval is far too narrow."""
    draw = np.random.default_rng(5)
    sizes = draw.zipf(1.8, 60).clip(max=20)
    users = np.repeat(np.arange(60), sizes)
    covered = {"user": 0, "prompt": 0}
    for _ in range(300):
        taste = np.clip(draw.normal(0.6, 0.2, 60), 0, 1)
        won = draw.random(len(users)) < taste[users]
        for by in covered:
            how = Resampling(400, 0, users.tolist() if by == "user" else None)
            low, _, high = mean_interval(won, how)
            covered[by] += low <= 0.6 <= high
    assert 0.88 < covered["user"] / 300 < 0.98
    assert covered["prompt"] / 300 < covered["user"] / 300 - 0.05


def test_users_of_one_prompt_each_are_prompts():
    won = np.random.default_rng(6).random(80) < 0.5
    assert mean_interval(won, AT) == mean_interval(won, Resampling(400, 0, [f"u{at}" for at in range(80)]))


def test_one_user_alone_has_no_interval_to_speak_of():
    assert mean_interval([0, 1, 1], Resampling(100, 0, ["a"] * 3)) == pytest.approx([2 / 3] * 3)


def test_a_ratio_weighs_prompts_by_what_they_count():
    assert ratio_interval([1, 2], [1, 4], AT)[1] == 3 / 5
    assert ratio_interval([1, 0, 2], [2, 0, 4], AT) == pytest.approx([0.5] * 3), (
        "a prompt of no pairs is none"
    )
    assert math.isnan(ratio_interval([0], [0], AT)[1])


def test_the_same_seed_gives_the_same_interval_and_no_values_give_none():
    values = np.random.default_rng(4).random(30)
    assert mean_interval(values, AT) == mean_interval(values, AT)
    assert all(math.isnan(number) for number in mean_interval([], AT))


def test_an_interval_reads():
    assert text([0.574, 0.61, 0.6499]) == "0.61 (0.57–0.65)"
    assert text([-0.01, 0.02, 0.05]) == "0.02 (-0.01 to 0.05)"


def test_a_win_rate_against_several_answers_is_the_mean_of_those_against_each():
    scores, others = np.array([1.0, 2.0, 3.0]), np.array([[0.0, 2.0, 9.0], [2.0, 1.0, 3.0]])
    assert wins(scores, others).tolist() == [0.5, 0.75, 0.25]
    assert wins_each(scores, others).tolist() == [[1, 0.5, 0], [0, 1, 0.5]]
    assert wins(scores, others).mean() == np.mean([wins(scores, other).mean() for other in others])
