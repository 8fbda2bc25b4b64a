"""Held-out labelers, and what a gain is made of: identities, and what the judges owe to seed and prompt."""

import numpy as np
import pytest

from rlhf.evaluation.gain import gain_by_feature
from rlhf.evaluation.held_out_labelers import HeldOut
from rlhf.labeling.simulated import calibrate, expected_agreement, pair_gaps, personas
from rlhf.labeling.utility import WEIGHTS

N, IDS = 300, [f"p{at}" for at in range(300)]


def said(seed, better=0.0):
    features = np.clip(np.random.default_rng(seed).random((N, 8)) + better, 0, 1.2)
    return features, [f"answer {seed} to {at}" for at in range(N)]


def judges(noise=1.0, seed=0):
    return HeldOut.of(10, seed, noise, [])


def test_nobody_beats_himself_and_both_sides_share_one():
    a, b = said(1), said(2)
    assert (judges().wins(IDS, a, [a]) == 0.5).all()
    assert judges(0.0).wins(IDS, a, [b]) == pytest.approx(1 - judges(0.0).wins(IDS, b, [a]))


def test_the_same_seed_and_prompts_give_the_same_judgments_and_another_seed_others():
    a, b = said(1), said(2)
    assert (judges().wins(IDS, a, [b]) == judges().wins(IDS, a, [b])).all()
    assert (judges().wins(IDS, a, [b]) != judges(seed=1).wins(IDS, a, [b])).any()
    alone = judges().wins(IDS[7:8], (a[0][7:8], a[1][7:8]), [(b[0][7:8], b[1][7:8])])
    assert alone[0, 0] == judges().wins(IDS, a, [b])[0, 7], "a prompt's judgment knows no other prompt"


def test_held_out_labelers_alone_judge():
    """The five who rank nothing that the reward model learns from: their taste decides where there is no noise."""
    a, b = said(1), said(2)
    own = personas(10, 0)[5:]
    expected = np.mean([(a[0] @ taste > b[0] @ taste) for taste in own], axis=0)
    assert judges(0.0).wins(IDS, a, [b])[0] == pytest.approx(expected)


def test_noise_brings_a_win_nearer_to_even():
    better, sft = said(1, better=0.15), said(2)
    by_utility = (better[0] @ WEIGHTS > sft[0] @ WEIGHTS).mean()
    shares = [judges(noise).wins(IDS, better, [sft]).mean() for noise in (0.0, 1.0, 5.0, 1e6)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(by_utility, abs=0.05)
    assert shares[-1] == pytest.approx(0.5, abs=0.03)


def test_two_policies_meet_the_same_judgments_of_sft():
    """So that their difference is paired: a policy that is another by a hair hardly differs."""
    a, b = said(1), said(2)
    hair = (a[0] + 1e-9, [text + "." for text in a[1]])
    assert (judges(2.0).wins(IDS, a, [b]) == judges(2.0).wins(IDS, hair, [b])).all()


def test_where_people_ranked_the_noise_is_calibrated_on_sft():
    answers = list(np.stack([said(seed)[0] for seed in range(4)], axis=1))
    found = HeldOut.of(10, 0, None, answers).labelers
    assert found.noise == calibrate(personas(10, 0), answers) > 0
    assert expected_agreement(pair_gaps(found.weights, answers), found.noise) == pytest.approx(0.75, abs=0.01)


def test_the_parts_of_a_gain_add_up_to_it():
    own, others = said(1, better=0.1)[0], np.stack([said(seed)[0] for seed in (2, 3, 4)])
    parts = gain_by_feature(own, others)
    gain = (own @ WEIGHTS).mean() - (others @ WEIGHTS).mean()
    assert sum(parts.values()) == pytest.approx(gain)
    assert parts["profanity"] < 0 < parts["relevance"], "more of what is disliked costs"
