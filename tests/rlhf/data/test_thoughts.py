"""Thoughts at the beginning of answers: cut or kept, whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import curate, thoughts
from rlhf.data.curation import Curation
from rlhf.data.engine import Engine
from rlhf.data.thoughts import Treatment
from rlhf.data.verdicts import Asked
from rlhf.params import DataParams
from rlhf.records import write_jsonl

PARAMS = DataParams(workers=1)


@pytest.mark.parametrize(
    ("answer", "cut", "kept"),
    [
        ("<think>\nshort\n</think>\n\nIt rains.", "It rains.", "<think>\nshort\n</think>\n\nIt rains."),
        ("<think></think>It rains.", "It rains.", "<think></think>It rains."),
        ("\n<thinking>a</thinking> It rains.", "It rains.", "\n<thinking>a</thinking> It rains."),
        ("<think>a</think><think>b</think>It rains.", "It rains.", "<think>a</think><think>b</think>It rains."),
        ("let me see\n</think>\n\nIt rains.", "It rains.", "<think>\nlet me see\n</think>\n\nIt rains."),
        ("<think>and so on", None, None),
        ("<think>a</think><think>and so on", None, None),
        ("<think>a</think>\n", None, "<think>a</think>\n"),
        ("It rains.", "It rains.", "It rains."),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it.", "Write <think> and </think> around it."),
        ("The tag </think> closes it.", "The tag </think> closes it.", "The tag </think> closes it."),
    ],
)  # fmt: skip
def test_a_thought_is_whole_or_gone(answer, cut, kept):
    record = {"completion": answer, "messages": [{"role": "user", "content": "<think>Why</think>?"}]}
    for how, expected in (("cut", cut), ("keep", kept)):
        found = Treatment(how).apply(record)
        assert (found and found["completion"]) == expected
        assert found is None or found["messages"] == record["messages"]


def test_earlier_answers_are_treated_too_and_what_was_done_is_counted():
    thought = "<think>hm</think>Yes."
    record = {
        "completion": thought,
        "messages": [{"role": "assistant", "content": thought}, {"role": "user", "content": "?"}],
    }
    treatment = Treatment("cut")
    assert treatment.apply(record)["messages"][0]["content"] == "Yes."
    assert treatment.done == {thoughts.CUT: 2}


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "\n", "a", " ", "<thinking>", "</thinking>"]), max_size=8
    )
)
def test_no_half_thought_is_left(parts):
    text = "".join(parts)
    once = Treatment("cut").apply({"completion": text, "messages": []})
    if once is not None:
        assert not once["completion"].lstrip().startswith(("<think>", "<thinking>"))
    kept = Treatment("keep").apply({"completion": text, "messages": []})
    if kept is not None and thoughts.begins(kept["completion"]):
        assert thoughts.without(kept["completion"]) is not None


def test_curation_cuts_or_keeps_them_and_says_so(tmp_path):
    thinking = [
        {
            "id": f"t{at}",
            "text": f"What does a {noun} sound like?",
            "labeler_id": "l",
            "completion": f"<think>hm</think>\nA {noun} hums.",
        }
        for at, noun in enumerate(
            (
                "kettle",
                "harbour",
                "violin",
                "forest",
                "engine",
                "market",
                "castle",
                "window",
                "garden",
                "river",
            )
            * 4
        )
    ]
    thinking.append({"id": "half", "text": "Why is that?", "labeler_id": "l", "completion": "<think>because"})
    for how, said in (("cut", "A kettle hums."), ("keep", "<think>hm</think>\nA kettle hums.")):
        with Engine(PARAMS, tmp_path) as engine:
            params = PARAMS.model_copy(update={"thinking": how})
            work = Curation("demonstrations", tmp_path, params, engine, Asked(("en",), None))
            write_jsonl(tmp_path / "demonstrations" / "a.jsonl", thinking)
            curate._read(work, tmp_path, [])
            assert next(work.table.records([0]))["completion"] == said
            steps = [(step["step"], step["in"], step["out"], step["reasons"]) for step in work.funnel.steps]
            assert steps[:2] == [("contract", 41, 41, {}), ("thinking", 41, 40, {thoughts.NO_ANSWER: 1})]
            assert steps[2:] == ([("thinking", 40, 40, {thoughts.CUT: 40})] if how == "cut" else [])
            work.close()
