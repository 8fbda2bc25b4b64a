"""Length control on answers whose wins are known to come from length, from quality, or from both."""

import numpy as np
import pytest

from rlhf.evaluation.length_control import length_controlled
from rlhf.evaluation.win_rate import Resampling

AT = Resampling(200, 0)


def answers(seed, longer, better, n=600, r=4):
    """Wins [r, n], lengths [n] and [r, n]: P(win) = σ(2 · length difference + quality), lengths in tens of characters."""
    draw = np.random.default_rng(seed)
    own, other = draw.normal(12 + longer, 1, n), draw.normal(12, 1, (r, n))
    chance = 1 / (1 + np.exp(-(2.0 * (own - other) * (longer > 0) + better)))
    return (draw.random((r, n)) < chance).astype(float), 10 * own, 10 * other


def test_where_length_alone_decides_nothing_is_left():
    won, own, other = answers(0, longer=1.0, better=0.0)
    low, mid, high = length_controlled(won, own, other, AT)
    assert won.mean() > 0.7
    assert low < 0.5 < high and mid == pytest.approx(0.5, abs=0.03)


def test_where_the_longer_answer_wins_without_exception_nothing_is_left_either():
    _, own, other = answers(1, longer=0.8, better=0.0)
    won = (own > other).astype(float)
    low, mid, high = length_controlled(won, own, other, AT)
    assert won.mean() > 0.7
    assert 0 < low < 0.5 < high < 1 and mid < 0.6, "a threshold at 0 fits as well as any beside it"


def test_where_quality_alone_decides_all_is_left():
    won, own, other = answers(2, longer=0.0, better=1.0)
    low, mid, high = length_controlled(won, own, other, AT)
    assert mid == pytest.approx(won.mean(), abs=0.01)
    assert low < won.mean() < high and low > 0.6


def test_where_both_decide_quality_is_left():
    won, own, other = answers(3, longer=0.8, better=0.6)
    _, mid, _ = length_controlled(won, own, other, AT)
    assert mid == pytest.approx(1 / (1 + np.exp(-0.6)), abs=0.04) and mid < won.mean() - 0.1


def test_answers_of_one_length_are_left_as_they_are():
    won = (np.random.default_rng(4).random((2, 200)) < 0.65).astype(float)
    assert length_controlled(won, np.full(200, 5.0), np.full((2, 200), 5.0), AT)[1] == pytest.approx(
        won.mean(), abs=1e-3
    )


def test_the_other_side_has_the_rest():
    won, own, other = answers(5, longer=0.5, better=0.4, r=1)
    there, back = length_controlled(won, own, other, AT), length_controlled(1 - won, other[0], own[None], AT)
    assert there[1] + back[1] == pytest.approx(1, abs=1e-6)
    assert there == length_controlled(won, own, other, AT)
