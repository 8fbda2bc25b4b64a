"""Labelers agree as people do, the held-out ones stay apart, and the same seed gives the same ranks."""

from itertools import combinations

import numpy as np
import pytest

from rlhf.labeling.agreement import pairwise_accuracy, ranks_of
from rlhf.labeling.simulated import Labelers, calibrate, expected_agreement, pair_gaps, personas, rank
from rlhf.labeling.utility import WEIGHTS, Utility

WORDS = ["river", "stone", "cloud", "garden", "winter", "engine", "purple", "silent", "market", "ladder"]


@pytest.fixture(scope="module")
def samples():
    draw = np.random.default_rng(1)
    rows = []
    for at in range(120):
        subject = WORDS[at % len(WORDS)]
        choice = [*WORDS, subject, "the", "is", "of"]
        texts = [" ".join(draw.choice(choice, size=draw.integers(3, 14))) for _ in range(4)]
        rows.append(
            {
                "id": f"s{at}",
                "prompt_id": f"p{at}",
                "messages": [
                    {"role": "user", "content": f"Tell me about the {subject} and a {WORDS[at % 7]}."}
                ],
                "round": 1,
                "split": "valid" if at % 4 == 0 else "train",
                "completions": [
                    {"text": text + "." * (k % 2), "model_version": "m", "ended": bool(draw.integers(2))}
                    for k, text in enumerate(texts)
                ],
            }
        )
    return rows


@pytest.fixture(scope="module")
def utility(samples):
    return Utility.fit(c["text"] for s in samples[::2] for c in s["completions"][:2])


def test_two_labelers_agree_on_about_three_pairs_in_four(samples, utility):
    for seed in range(3):
        _, figures = rank(samples, utility, labelers=10, seed=seed)
        assert figures["agreement_expected"] == pytest.approx(0.75, abs=1e-3)
        assert 0.70 < figures["agreement"] < 0.80  # 720 pairs: a standard error of .016
        assert figures["utility_agreement"] > figures["agreement"]


def test_expected_agreement_is_what_drawing_many_rankings_gives():
    draw = np.random.default_rng(0)
    weights, prompts = personas(6, 0), [draw.random((4, 8)) for _ in range(60)]
    scale = calibrate(weights, prompts)
    people = Labelers(weights, scale, 0)
    hits = []
    for number, features in enumerate(prompts):
        for repeat in range(4):
            drawn = [people.rank(m, features, list("abcd"), [number, repeat]) for m in range(6)]
            hits += [
                (a[i] < a[j]) == (b[i] < b[j])
                for a, b in combinations(drawn, 2)
                for i, j in combinations(range(4), 2)
            ]
    assert np.mean(hits) == pytest.approx(expected_agreement(pair_gaps(weights, prompts), scale), abs=0.015)
    assert 0.73 < np.mean(hits) < 0.77


def test_training_and_held_out_labelers_never_meet(samples, utility):
    records, _ = rank(samples, utility, labelers=7, seed=0)
    who = {split: {r["labeler_id"] for r in records if r["split"] == split} for split in ("train", "valid")}
    assert len(who["train"]) == 4
    assert len(who["valid"]) == 3
    assert not who["train"] & who["valid"]


def test_the_same_seed_ranks_the_same_whatever_the_order(samples, utility):
    once, figures = rank(samples, utility, labelers=6, seed=5)
    again, same = rank(samples[::-1], utility, labelers=6, seed=5)
    assert {r["id"]: r["ranks"] for r in once} == {r["id"]: r["ranks"] for r in again}
    assert figures["noise_scale"] == pytest.approx(same["noise_scale"])
    other, _ = rank(samples, utility, labelers=6, seed=6)
    assert [r["ranks"] for r in once] != [r["ranks"] for r in other]


def test_the_same_text_twice_is_a_tie():
    people = Labelers(personas(2, 0), 1.0, 0)
    ranks = people.rank(0, np.random.default_rng(0).random((4, 8)), ["a", "b", "a", "c"], [1])
    assert ranks[0] == ranks[2]
    assert ranks_of([3.0, 5.0, 3.0, 1.0]) == [2, 1, 2, 4]


def test_without_noise_the_plain_labeler_ranks_by_utility():
    features = np.random.default_rng(0).random((50, 5, 8))
    plain = Labelers(np.stack([WEIGHTS]), 0.0, 0)
    ranks = [plain.rank(0, f, list("abcde"), [at]) for at, f in enumerate(features)]
    assert pairwise_accuracy(features @ WEIGHTS, ranks) == 1.0
    assert pairwise_accuracy(-(features @ WEIGHTS), ranks) == 0.0
    assert pairwise_accuracy(features @ WEIGHTS * 0, ranks) == 0.5


def test_labelers_with_nothing_to_tell_apart_need_no_noise():
    assert calibrate(personas(4, 0), [np.ones((3, 8))]) == 0.0


def test_labelers_are_calibrated_once_and_their_agreement_on_other_answers_is_a_finding(samples, utility):
    """Answers that differ less are ranked by the same people, who agree less on them."""
    _, first = rank(samples, utility, labelers=10, seed=0)
    alike = [
        s
        | {
            "completions": [
                c | {"text": s["completions"][0]["text"] + " is" * k} for k, c in enumerate(s["completions"])
            ]
        }
        for s in samples
    ]
    _, later = rank(alike, utility, labelers=10, seed=0, noise=first["noise_scale"])
    assert later["noise_scale"] == first["noise_scale"]
    assert later["agreement_expected"] < 0.72 and later["agreement"] < first["agreement"]
    assert rank(samples, utility, labelers=10, seed=0, noise=first["noise_scale"])[1] == first
    assert rank(samples, utility, labelers=10, seed=0, noise=0.0)[1]["agreement_expected"] > 0.8
