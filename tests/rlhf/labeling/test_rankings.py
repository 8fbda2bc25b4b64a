"""Of rankings that contradict each other one stands; the same text cannot be better than itself."""

from __future__ import annotations

from rlhf.labeling.rankings import standing, tied


def ranking(texts, ranks, labeler="ann", asked="who?", **more):
    return {
        "labeler_id": labeler,
        "messages": [{"role": "user", "content": asked}],
        "completions": [{"text": text} for text in texts],
        "ranks": ranks,
        **more,
    }


def test_the_later_of_two_rankings_of_the_same_answers_stands():
    first, second = ranking(["a", "b"], [1, 2]), ranking(["b", "a"], [1, 2])
    assert standing([first, second]) == ([second], 1)
    dated = [first | {"created_at": "2026-02-01T00:00:00Z"}, second | {"created_at": "2026-01-01T00:00:00Z"}]
    assert standing(dated) == (dated[:1], 1)


def test_other_labelers_prompts_and_answers_are_other_rankings():
    every = [
        ranking(["a", "b"], [1, 2]),
        ranking(["a", "b"], [2, 1], labeler="ben"),
        ranking(["a", "b"], [2, 1], asked="why?"),
        ranking(["a", "c"], [2, 1]),
    ]
    assert standing(every) == (every, 0)


def test_equal_texts_tie():
    assert tied(ranking(["a", "b", "a"], [1, 2, 3])) == [2, 2, 2]
    assert tied(ranking(["a", "b", "c"], [1, 2, 2])) == [1, 2, 2]
    cut = ranking(["a", "a"], [1, 2])
    cut["completions"][1]["ended"] = False
    assert tied(cut) == [1, 2], "one of them goes on"
