"""One seed for an experiment, others for its rounds and uses."""

from rlhf import seeds


def test_the_first_round_has_the_seed_and_no_two_rounds_or_uses_share_one():
    assert seeds.of_round(7, 1) == 7
    made = [seeds.of_round(seed, number) for seed in range(20) for number in range(1, 50)]
    made += [seeds.mixed(seed, "held out") for seed in range(20)]
    assert len(set(made)) == len(made) and all(0 <= seed < 2**32 for seed in made)
    assert seeds.of_round(0, 2) == 1011692074, "rounds that are run again elsewhere draw the same"


def test_the_first_few_of_shuffled_items_are_a_sample_of_all():
    items = list(range(1000))
    first = [seeds.shuffled(items, seed, "zero")[:100] for seed in range(30)]
    assert all(len(set(part)) == 100 for part in first)
    means = [sum(part) / 100 for part in first]
    assert 450 < sum(means) / 30 < 550 and len(set(means)) > 25
    assert seeds.shuffled(items, 0, "zero") != seeds.shuffled(items, 0, "choice")
    assert seeds.shuffled(items, 0, "zero") == seeds.shuffled(items, 0, "zero")
