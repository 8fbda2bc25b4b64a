"""Texts that are held out, from files of any format."""

import json

import pytest

from rlhf.data.evaluation_files import texts

ASK = "How does a heron stand for hours without falling?"
PART = {"type": "text", "text": ASK}


def held_out(tmp_path, rows, name="eval.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(texts([path]))


@pytest.mark.parametrize(
    "row",
    [
        {"text": ASK},
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": [PART]},
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, PART]}]},
        {"messages": json.dumps([{"role": "user", "content": ASK}])},
        {
            "messages": [
                {"role": "user", "content": ASK},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
            ]
        },
        {"conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": "By habit."}]},
        {"question": ASK, "answer": "By habit."},
        {"prompt": [{"role": "user", "content": ASK}], "completion": "By habit."},
    ],
)
def test_a_question_is_held_out_in_whatever_shape_it_comes(tmp_path, row):
    assert ASK in held_out(tmp_path, [row])


def test_neighbours_are_held_out_apart_and_joined(tmp_path):
    messages = [
        {"role": "user", "content": text}
        for text in ("Here is a long remark about the birds of this lake.", ASK)
    ]
    found = held_out(tmp_path, [{"messages": messages}])
    assert ASK in found and f"{messages[0]['content']}\n\n{ASK}" in found and messages[0]["content"] in found


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"messages": [{"role": "user", "content": ASK}, {"role": "user", "content": 7}]},
            r"messages\[1\]\.content: must be text",
        ),
        (
            {"messages": [{"role": "user", "content": ASK}, {"role": "user", "content": [{"kind": 1}]}]},
            r"messages\[1\]\.content\[0\]",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": ASK},
                    {"role": "user", "content": [{"type": "input_audio"}]},
                ]
            },
            r"messages\[1\]\.content: holds a part of type input_audio and no text",
        ),
        ({"messages": [{"role": "customer", "content": ASK}]}, r"role: must be one of"),
        ({"words": ASK}, "must be an object with `text`"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, row, said):
    with pytest.raises(ValueError, match=rf"eval\.jsonl, line 2.*{said}") as error:
        held_out(tmp_path, [{"text": "fine"}, row])
    assert ASK not in str(error.value)
