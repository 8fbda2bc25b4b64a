import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.data import use_case
from rlhf.data.contract import USE_CASES


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("Write a short story about a goat.", "generation"),
        ("please write me an email to my boss", "generation"),
        ("who was the first king of Norway", "open_qa"),
        ("Tell me about tides.", "open_qa"),
        ("Give me some ideas for a garden party", "brainstorming"),
        ("Human: Hello\nAI: Hi, how can I help?\nHuman: I am bored.\nAI:", "chat"),
        ("Translate to Spanish: I like tea.", "rewrite"),
        ("Summarize in one sentence.\n\nThe river rose. The bridge fell.", "summarization"),
        ("Is this review positive or negative? The tea was cold.", "classification"),
        ("Extract the names from the following text: Ada met Bo.", "extraction"),
        (
            "Ada met Bo in Rome and they had tea with lemon at noon. " * 3 + "\n\nQuestion: Who met Bo?",
            "closed_qa",
        ),
        ("what are the cities mentioned in the article", "extraction"),
        ("tl; dr of that", "summarization"),
        ("", "other"),
        ("blue", "other"),
    ],
)
def test_requests_are_told_by_their_wording(text, case):
    assert use_case.classify(text) == case
    assert use_case.classify([{"role": "user", "content": text}]) == case


def test_a_conversation_without_a_task_is_chat_and_one_with_a_task_is_the_task():
    said = [{"role": "user", "content": "I saw a heron."}, {"role": "assistant", "content": "Lovely!"}]
    assert use_case.classify([*said, {"role": "user", "content": "It was grey."}]) == "chat"
    assert use_case.classify([*said, {"role": "user", "content": "Translate that into Dutch."}]) == "rewrite"


def test_what_a_record_says_stands():
    spoken = [{"role": "user", "content": "Write a story."}]
    assert use_case.of({"use_case": "chat", "messages": spoken}) == "chat"
    assert use_case.of({"use_case": None, "messages": spoken}) == "generation"


def test_wordings_that_the_rules_were_not_written_for():
    figure = use_case.held_out_figure()
    assert set(figure) == {*USE_CASES, "all"}
    assert figure["all"] >= 0.88
    assert min(figure.values()) >= 0.7


GATED = [
    *((pattern, bit) for _, bit, pattern in use_case._TASK_PATTERNS),
    (use_case._ABOUT_A_TEXT, use_case._MAY_BE_ABOUT_A_TEXT),
    (use_case._MAKE, use_case._MAY_MAKE),
    (use_case._CHAT, use_case._MAY_CHAT),
    (use_case._ASKS_LATER, use_case._MAY_ASK),
]


@pytest.mark.parametrize(("pattern", "gate"), GATED)
def test_what_a_pattern_matches_opens_its_gate(pattern, gate):
    @settings(max_examples=400, derandomize=True, deadline=None)
    @given(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(max_codepoint=127)))
    def check(text):
        assert any(use_case._opened(word) & gate for word in text.lower().split())

    check()


@pytest.mark.parametrize(
    ("request_", "words", "case"),
    [
        (
            "find all the names in the {}",
            "text passage article paragraph sentence e-mail document following note list table review transcript",
            "extraction",
        ),
        (
            "{} me a thing for the shop",
            "create compose draft generate produce design build code script",
            "generation",
        ),
        (
            "the bridge over the river was closed on monday because of the flood. based on the {} it reopened when",
            "text passage article paragraph context following information story document table excerpt facts notes",
            "closed_qa",
        ),
    ],
)
def test_each_word_that_a_pattern_names_counts(request_, words, case):
    for word in words.split():
        assert use_case.classify(request_.format(word)) == case, word
