"""Rankings by people: they come back in any order, by several labelers, and belong to what was sampled."""

from __future__ import annotations

import pytest

from rlhf.labeling.rankings_file import asks, ranked, to_rank


def sampled(number: int) -> dict:
    return {
        "id": f"r0001-p{number}",
        "prompt_id": f"p{number}",
        "messages": [{"role": "user", "content": "Hi"}],
        "round": 1,
        "split": "train",
        "completions": [
            {"text": text, "model_version": "sft/1", "ended": True} for text in ("a", "b", "b", "c")
        ],
    }


def test_ranks_follow_the_text_whatever_the_order():
    row = next(to_rank([sampled(1)]))
    assert (row["labeler_id"], row["ranks"]) == ("", [])
    back = {**row, "labeler_id": "ann", "ranks": [1, 2, 3, 4], "completions": [{"text": t} for t in "cbba"]}
    (found,) = ranked([sampled(1)], [back])
    assert found["ranks"] == [4, 2, 3, 1]  # c 1, b 2 and 3, a 4
    assert found["completions"] == sampled(1)["completions"]


def test_what_goes_out_does_not_say_who_wrote_it():
    rows = [sampled(number) for number in range(9)]
    out = list(to_rank(rows))
    assert "model_version" not in str(out) and out == list(to_rank(rows))
    orders = {"".join(completion["text"] for completion in row["completions"]) for row in out}
    assert len(orders) > 2 and all(sorted(order) == list("abbc") for order in orders)


def test_lines_that_ask_about_other_samples_are_noticed():
    rows = [sampled(1), sampled(2)]
    assert asks(rows, to_rank(rows)) and asks(rows, to_rank(rows[:1]))
    other = sampled(2) | {"completions": [{"text": "d"}]}
    assert not asks(rows, to_rank([sampled(1), other]))


def test_several_labelers_rank_one_prompt_under_ids_of_their_own():
    completions = sampled(1)["completions"]
    rankings = [
        {
            "id": f"x{n}",
            "round": 1,
            "prompt_id": "p1",
            "labeler_id": who,
            "ranks": [1, 1, 2, 2],
            "completions": completions,
        }
        for n, who in enumerate(("ann", "bob"))
    ]
    assert [row["labeler_id"] for row in ranked([sampled(1)], rankings)] == ["ann", "bob"]


def test_rankings_of_other_prompts_are_left_out():
    other = {**sampled(9), "labeler_id": "ann", "ranks": [1, 2, 3, 4]}
    assert ranked([sampled(1)], [other]) == []


def test_changed_completions_are_refused_by_id():
    changed = {**sampled(1), "labeler_id": "ann", "ranks": [1, 2, 3, 4]}
    changed["completions"] = [{"text": text} for text in ("a", "b", "b", "mine")]
    with pytest.raises(ValueError, match="comparison r0001-p1: its completions are not the ones"):
        ranked([sampled(1)], [changed])
