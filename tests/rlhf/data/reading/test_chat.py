"""Messages in the dialects of OpenAI, Anthropic and TRL."""

import pytest

QUESTIONS = [
    "How do bees find their way home?",
    "What is a rebate in a window frame?",
    "Wie tief ist der See?",
]


def turns(record):
    return [(turn["role"], turn["content"]) for turn in record["messages"]]


def test_text_parts_are_joined(read):
    parts = [{"type": "text", "text": "Read this:"}, {"type": "text", "text": "the lake lies still"}]
    records, reader = read([{"id": "a", "user_id": "u", "messages": [{"role": "user", "content": parts}]}])
    assert turns(records[0]) == [("user", "Read this:\nthe lake lies still")]
    assert reader.lines() == ["openai-chat: 1 prompts of 1 records"]


def test_a_request_has_its_user_and_an_id_of_its_content(read):
    rows = [
        {"model": "m", "user": f"u{at}", "messages": [{"role": "user", "content": text}]}
        for at, text in enumerate(QUESTIONS)
    ]
    records, _ = read(rows)
    assert [record["user_id"] for record in records] == ["u0", "u1", "u2"]
    again, _ = read(rows[::-1])
    assert {r["id"]: r["messages"] for r in again} == {r["id"]: r["messages"] for r in records}
    assert len({record["id"] for record in records}) == 3


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "12"}


def test_tool_turns_are_left_out_and_their_neighbours_joined(read):
    messages = [
        {"role": "user", "content": "How warm is it?"}, CALL, RESULT, {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "It is 12 degrees.", "tool_calls": CALL["tool_calls"]},
        {"role": "user", "content": "Thanks. And tomorrow?"},
    ]  # fmt: skip
    records, reader = read([{"id": "a", "user_id": "u", "messages": messages}])
    assert turns(records[0]) == [
        ("user", "How warm is it?\n\nWell?"),
        ("assistant", "It is 12 degrees."),
        ("user", "Thanks. And tomorrow?"),
    ]
    assert not reader.rejects
    assert reader.done() == {
        "tool turns left out": 2, "tool calls left out": 1, "turns joined to the same speaker's": 1
    }  # fmt: skip


@pytest.mark.parametrize("name", ["system", "instructions", "system_prompt"])
def test_a_system_prompt_beside_the_messages_is_the_system_turn(read, name):
    row = {"id": "a", "user_id": "u", name: "Be brief.", "messages": [{"role": "user", "content": "Why?"}]}
    records, reader = read([row])
    assert turns(records[0]) == [("system", "Be brief."), ("user", "Why?")]
    assert records[0]["extra"] is None and not any(told.unused for told in reader.formats.values())


def test_a_prompt_without_a_user_needs_a_word(read):
    row = {"id": "a", "text": "Why is the sea salt?"}
    records, reader = read([row])
    assert not records
    assert (
        reader.rejects[0]
        .sentence()
        .endswith(
            "field user_id: missing: name its field by --user-field, or say --one-user-each or --anonymous"
        )
    )
    assert read([row], users="one-each")[0][0]["user_id"] == "a"
    assert read([row], users="anonymous")[0][0]["user_id"] == "anonymous"
    assert read([row | {"meta": {"who": 7}}], user_field="meta.who")[0][0]["user_id"] == "7"


def test_an_answered_conversation_is_a_prompt_and_a_demonstration(read):
    said = [
        ("system", "Be brief."),
        ("user", "Why?"),
        ("assistant", "So."),
        ("user", "How?"),
        ("assistant", "Thus."),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in said]}
    (prompt,), _ = read([row], users="anonymous")
    assert turns(prompt) == said[:-1]
    (demonstration,), _ = read([row], "demonstrations")
    assert (turns(demonstration), demonstration["completion"]) == (said[:-1], "Thus.")


def test_identical_rows_are_one_and_another_text_under_the_same_id_is_refused(read):
    row = {"id": "a", "user_id": "u", "text": "Why?"}
    records, reader = read([row, row, row | {"text": "How?"}])
    assert len(records) == 1 and reader.copies == 1
    assert [(reject.line, reject.field) for reject in reader.rejects] == [(3, "id")]


def test_texts_of_any_script_keep_their_ids_and_users(read):
    texts = ["¿Por qué?", "为什么?", " Why?", "\u200bWhy?", "«Why?»"]
    rows = [{"user_id": 5 + at, "text": text} for at, text in enumerate(texts)]
    records, reader = read(rows)
    assert not reader.rejects
    assert [(record["user_id"], turns(record)) for record in records] == [
        (str(5 + at), [("user", text)]) for at, text in enumerate(texts)
    ]
    assert len({record["id"] for record in records}) == len(texts)
    assert [
        read([row | {"text": text}])[1].rejects[0].field for row in rows[:1] for text in ("", " ", "\u200b")
    ] == ["text"] * 3
