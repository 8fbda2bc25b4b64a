"""The eight features on cases made by hand, and what must not matter."""

import numpy as np
import pytest

from rlhf.labeling.request import read_request, split_passage
from rlhf.labeling.utility import FEATURES, WEIGHTS, Utility

TEXTS = [
    "The red fox is a small animal that lives in the forest. It hunts mice at night.",
    "A river carries water from the mountains to the sea.",
]
PASSAGE = "The Amber Bridge was built in 1911 by two brothers. It crosses the river near the old mill."


def ask(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def utility():
    return Utility.fit(TEXTS)


def test_an_attested_sentence_on_the_subject_is_fluent_relevant_and_complete(utility):
    got = utility.features(ask("Tell me about the red fox."), TEXTS[0].split(". ")[0] + ".", True)
    assert got["relevance"] == got["fluency"] == got["no_repetition"] == got["completeness"] == 1.0
    assert got["information"] == pytest.approx(4 / 6)  # small, animal, lives, forest
    assert got["copying"] == got["groundedness"] == 0.0
    assert got["profanity"] < 0.2


def test_utility_is_the_weighted_sum_of_the_stack(utility):
    answer = (ask("Tell me about rivers."), "A river carries water.", False)
    f = utility.features(*answer)
    by_hand = 3 * f["relevance"] + f["information"] + 2 * f["fluency"] + f["no_repetition"]
    by_hand += 1.5 * f["completeness"] - 2 * f["profanity"] - f["copying"] + 2 * f["groundedness"]
    assert utility.score(*answer) == pytest.approx(by_hand)
    assert dict(zip(FEATURES, WEIGHTS, strict=True))["profanity"] == -2


def test_relevance_reaches_one_at_sixty_percent_and_reads_stems(utility):
    prompt = ask("Describe lions hunting zebras near rivers.")  # lion hunt zebra river: four stems
    assert utility.features(prompt, "Lion.", True)["relevance"] == pytest.approx(0.25 / 0.6)
    assert utility.features(prompt, "A lion hunts the zebra.", True)["relevance"] == 1.0
    assert utility.features(prompt, "Describe it near me.", True)["relevance"] == 0.0


def test_word_salad_and_repetition_lose(utility):
    prompt = ask("Tell me about the red fox.")
    order = TEXTS[0].split()
    salad = " ".join(order[::-1])
    assert utility.features(prompt, salad, True)["fluency"] < 0.2
    assert utility.features(prompt, TEXTS[0], True)["fluency"] == 1.0
    assert utility.features(prompt, "the fox the fox the fox the fox", True)["no_repetition"] == 0.0
    assert utility.features(prompt, "the fox saw the fox", True)["no_repetition"] == pytest.approx(1 - 2 / 4)


@pytest.mark.parametrize(
    ("text", "ended", "value"),
    [
        ("one two three four five six.", True, 1.0),
        ("one two three four five.", True, 0.7),
        ("one two three four five six", True, 0.7),
        ("one two three four five six!", False, 0.6),
        (" ".join(["word"] * 41) + "?", False, 0.3),
        ("", True, 0.4),
    ],
)
def test_completeness(utility, text, ended, value):
    assert utility.features(ask("Hello there"), text, ended)["completeness"] == pytest.approx(value)


def test_copying_allows_longer_runs_where_the_request_is_to_tell_about(utility):
    subject = "the long and winding road that leads to the door of my uncle"
    six = "the long and winding road that"

    def copying(request, answer):
        return utility.features(ask(request), answer, True)["copying"]

    assert copying(f"Describe {subject}.", f"It is {six} ends.") == 1.0
    assert copying(f"Describe {subject}.", "It is the long and winding road.") == 0.0
    assert copying(f"Tell me about {subject}.", f"It is {six} ends.") == 0.0
    assert copying(f"Tell me about {subject}.", subject.capitalize()) == 1.0


def test_a_closed_question_is_measured_against_the_question_and_grounded_in_the_passage(utility):
    prompt = ask(f"{PASSAGE}\n\nQuestion: When was the bridge built?")
    inside = utility.features(prompt, "The bridge was built in 1911.", True)
    outside = utility.features(prompt, "Penguins cannot fly.", True)
    assert inside["relevance"] == inside["groundedness"] == 1.0
    assert outside["relevance"] == outside["groundedness"] == 0.0
    open_question = utility.features(ask("When was the bridge built?"), "The bridge was built in 1911.", True)
    assert open_question["groundedness"] == 0.0


def test_only_the_last_question_of_a_conversation_counts(utility):
    shown = [*ask("Who wrote Emma?"), {"role": "assistant", "content": "Austen wrote Emma."}]
    last = ask("Where do foxes live?")
    assert read_request([*shown, *last]).asked == read_request(last).asked


@pytest.mark.parametrize(
    ("message", "question", "closed"),
    [
        (f"{PASSAGE}\n\nQuestion: Who built it?", "Who built it?", True),
        (f"Passage: {PASSAGE}\nQuestion: Who built it?\nAnswer:", "Who built it?", True),
        (f"Summarize in one sentence.\n\n{PASSAGE}", "Summarize in one sentence.", True),
        (f"{PASSAGE}\n\nWho built it?", "Who built it?", True),
        ("Tell me about foxes.", "Tell me about foxes.", False),
        ("Hello.\n\nWho are you?", "Hello.\n\nWho are you?", False),
        ("Another question: Who are you?", "Who are you?", False),
    ],
)
def test_a_passage_is_recognised_by_form(message, question, closed):
    asked, passage = split_passage(message)
    assert asked == question
    assert passage == (PASSAGE if closed else None)


@pytest.mark.parametrize(
    ("question", "stems"),
    [
        ("Tell me about The Five Little Peppers.", {"five", "littl", "pepper"}),
        ("Could you please give me a short description of Venus?", {"venus"}),
        ("Summarize in one sentence.", set()),
        ("How do I write a check?", {"write", "check"}),
    ],
)
def test_only_the_words_of_the_instruction_itself_are_left_aside(question, stems):
    assert read_request(ask(question)).asked == stems


def test_a_summary_is_measured_against_its_passage():
    assert "bridg" in read_request(ask(f"Summarize in one sentence.\n\n{PASSAGE}")).asked


def test_features_do_not_depend_on_the_company(utility):
    answers = [
        (ask("Tell me about the red fox."), "It hunts mice at night.", True),
        (ask("Tell me about the sea."), "", False),
        (ask(f"{PASSAGE}\n\nQuestion: Who built it?"), "Two brothers.", True),
    ]
    together = utility.features_many(answers)
    alone = np.concatenate([utility.features_many([answer]) for answer in answers])
    np.testing.assert_array_equal(together, alone)
    assert ((together >= 0) & (together <= 1)).all()
    assert utility.features_many([]).shape == (0, 8)


def test_nothing_is_attested_by_no_text():
    assert Utility.fit([]).features(ask("Foxes?"), "Foxes run.", True)["fluency"] == 0.0
