"""Each format on records of its true shape: what is recognised, and what comes out."""

import pytest

from rlhf.data.reading.recognition import FORMATS, recognised

ASK, ANSWER = "Why do geese fly in a V?", "Each bird rides on the lift of the one before it."
DIALOG = [("user", "Hi."), ("assistant", "Hello."), ("user", ASK), ("assistant", ANSWER)]
MESSAGES = [{"role": role, "content": text} for role, text in DIALOG]


def turns(record):
    return [(turn["role"], turn["content"]) for turn in record["messages"]]


# name of the format, a record, the prompt's turns, the user (None: it names none), the demonstration's completion
SHAPES = {
    "sharegpt": (
        "sharegpt",
        {
            "id": "s",
            "conversations": [
                {"from": "system", "value": "Be kind."},
                {"from": "human", "value": ASK},
                {"from": "gpt", "value": ANSWER},
            ],
        },
        [("system", "Be kind."), ("user", ASK)],
        None,
        ANSWER,
    ),
    "sharegpt with columns": (
        "sharegpt",
        {
            "conversations": {"from": ["human", "gpt"], "value": [ASK, ANSWER]},
            "system": "Be kind.",
            "source": "web",
        },
        [("system", "Be kind."), ("user", ASK)],
        None,
        ANSWER,
    ),
    "sharegpt by roles": ("sharegpt", {"conversations": MESSAGES}, DIALOG[:-1], None, ANSWER),
    "sharegpt with tools": (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "How warm?"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "4"},
                {"from": "gpt", "value": "4 degrees."},
                {"from": "human", "value": ASK},
                {"from": "gpt", "value": ANSWER, "weight": None},
            ]
        },
        [("user", "How warm?"), ("assistant", "4 degrees."), ("user", ASK)],
        None,
        ANSWER,
    ),
    "lmsys": (
        "lmsys-chat",
        {
            "conversation_id": "c",
            "model": "m",
            "conversation": MESSAGES,
            "turn": 2,
            "language": "English",
            "openai_moderation": [{"flagged": False}],
            "redacted": True,
        },
        DIALOG[:-1],
        None,
        ANSWER,
    ),
    "wildchat": (
        "wildchat",
        {
            "conversation_hash": "c",
            "model": "m",
            "timestamp": "2024-01-05 10:00:00+00:00",
            "language": "English",
            "toxic": False,
            "conversation": [
                turn
                | {"hashed_ip": "f00", "country": "Peru", "header": {"user-agent": "x"}, "turn_identifier": 1}
                for turn in MESSAGES
            ],
        },
        DIALOG[:-1],
        "f00",
        ANSWER,
    ),
    "wildchat, its own hashed_ip": (
        "wildchat",
        {
            "conversation_hash": "c",
            "hashed_ip": "b0b",
            "header": {"user-agent": "x"},
            "conversation": MESSAGES,
        },
        DIALOG[:-1],
        "b0b",
        ANSWER,
    ),
    "hh": (
        "hh-transcript",
        {"text": f"\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: {ASK}\n\nAssistant: {ANSWER}"},
        DIALOG[:-1],
        None,
        ANSWER,
    ),
    "hashes": (
        "hh-transcript",
        {"text": f"### Human: Hi.### Assistant: Hello.### Human: {ASK}### Assistant: {ANSWER}"},
        DIALOG[:-1],
        None,
        ANSWER,
    ),
    "hh as a prompt column": (
        "hh-transcript",
        {"prompt": f"Human: Hi.\n\nAssistant: Hello.\n\nHuman: {ASK}\n\nAssistant:"},
        DIALOG[:-1],
        None,
        "Hello.",
    ),
    "alpaca": ("alpaca", {"instruction": ASK, "input": "", "output": ANSWER}, [("user", ASK)], None, ANSWER),
    "alpaca with input": (
        "alpaca",
        {
            "instruction": "Shorten.",
            "input": "A long line.",
            "output": "A line.",
            "system": "Be terse.",
            "text": None,
        },
        [("system", "Be terse."), ("user", "Shorten.\n\nA long line.")],
        None,
        "A line.",
    ),
    "alpaca with history": (
        "alpaca",
        {"instruction": ASK, "output": ANSWER, "history": [["Hi.", "Hello."]]},
        DIALOG[:-1],
        None,
        ANSWER,
    ),
    "dolly": (
        "dolly",
        {
            "instruction": "Shorten.",
            "context": "A long line.",
            "response": "A line.",
            "category": "summarization",
        },
        [("user", "Shorten.\n\nA long line.")],
        None,
        "A line.",
    ),
    "question": ("question-answer", {"question": ASK, "answer": ANSWER}, [("user", ASK)], None, ANSWER),
    "trl text": ("trl", {"prompt": ASK, "completion": ANSWER}, [("user", ASK)], None, ANSWER),
    "trl messages": (
        "trl",
        {"prompt": MESSAGES[:-1], "completion": MESSAGES[-1:]},
        DIALOG[:-1],
        None,
        ANSWER,
    ),
    "prompt and response": ("trl", {"prompt": ASK, "response": ANSWER}, [("user", ASK)], None, ANSWER),
    "openai": ("openai-chat", {"messages": MESSAGES, "user": "u"}, DIALOG[:-1], "u", ANSWER),
    "openai with its answer": (
        "openai-chat",
        {
            "model": "m",
            "messages": MESSAGES[:-1],
            "user": 7,
            "response": {"id": "r", "choices": [{"index": 0, "message": MESSAGES[-1]}]},
        },
        DIALOG[:-1],
        "7",
        ANSWER,
    ),
    "openai batch": (
        "openai-batch",
        {
            "custom_id": "r",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "user": "u", "messages": MESSAGES},
        },
        DIALOG[:-1],
        "u",
        ANSWER,
    ),
    "gateway": (
        "openai-batch",
        {
            "id": "g",
            "request": {"messages": MESSAGES[:-1]},
            "response": {"body": {"choices": [{"message": MESSAGES[-1]}]}},
            "user_id": "u",
        },
        DIALOG[:-1],
        "u",
        ANSWER,
    ),
    "responses": (
        "openai-responses",
        {
            "model": "m",
            "input": ASK,
            "instructions": "Be kind.",
            "safety_identifier": "u",
            "output": [
                {"type": "reasoning", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": ANSWER}],
                },
            ],
        },
        [("system", "Be kind."), ("user", ASK)],
        "u",
        ANSWER,
    ),
    "responses with items": (
        "openai-responses",
        {
            "model": "m",
            "user": "u",
            "input": [
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": [{"type": "input_text", "text": ASK}]},
                {"role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]},
            ],
        },
        [("system", "Be kind."), ("user", ASK)],
        "u",
        ANSWER,
    ),
    "anthropic": (
        "anthropic",
        {
            "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
            "max_tokens": 9,
            "metadata": {"user_id": "u"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": ASK}]}, MESSAGES[-1]],
        },
        [("system", "Be kind."), ("user", ASK)],
        "u",
        ANSWER,
    ),
    "langfuse generation": (
        "langfuse",
        {
            "id": "o",
            "traceId": "t",
            "type": "GENERATION",
            "startTime": "2025-01-05T10:00:00.000Z",
            "userId": "u",
            "input": {"messages": MESSAGES[:-1], "tools": []},
            "output": MESSAGES[-1],
            "model": "m",
        },
        DIALOG[:-1],
        "u",
        ANSWER,
    ),
    "langfuse in strings": (
        "langfuse",
        {
            "id": "o",
            "trace_id": "t",
            "session_id": "s",
            "start_time": "2025-01-05 10:00:00.123456",
            "user_id": "u",
            "input": '[{"role": "user", "content": "Why do geese fly in a V?"}]',
            "output": f'{{"role": "assistant", "content": "{ANSWER}"}}',
        },
        [("user", ASK)],
        "u",
        ANSWER,
    ),
    "langfuse trace of text": (
        "langfuse",
        {
            "id": "t",
            "sessionId": "s",
            "userId": "u",
            "timestamp": "2025-01-05T10:00:00Z",
            "input": {"question": ASK},
            "output": ANSWER,
        },
        [("user", ASK)],
        "u",
        ANSWER,
    ),
    "otel": (
        "otel-genai",
        {
            "span_id": "s",
            "start_time": "2025-01-05T10:00:00Z",
            "attributes": {
                "enduser.id": "u",
                "gen_ai.system_instructions": [{"type": "text", "content": "Be kind."}],
                "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": ASK}]}],
                "gen_ai.output.messages": [
                    {
                        "role": "assistant",
                        "parts": [
                            {"type": "reasoning", "content": "hm"},
                            {"type": "text", "content": ANSWER},
                        ],
                        "finish_reason": "stop",
                    }
                ],
            },
        },
        [("system", "Be kind."), ("user", ASK)],
        "u",
        ANSWER,
    ),
    "otel in strings": (
        "otel-genai",
        {
            "spanId": "s2",
            "startTimeUnixNano": "1736070000000000000",
            "attributes": [
                {"key": "user.id", "value": {"stringValue": "u"}},
                {
                    "key": "gen_ai.input.messages",
                    "value": {
                        "stringValue": '[{"role": "user", "parts": [{"type": "text", "content": "Why do geese fly in a V?"}]}]'
                    },
                },
                {
                    "key": "gen_ai.output.messages",
                    "value": {
                        "stringValue": f'[{{"role": "assistant", "parts": [{{"type": "text", "content": "{ANSWER}"}}]}}]'
                    },
                },
            ],
        },
        [("user", ASK)],
        "u",
        ANSWER,
    ),
    "otel, flat": (
        "otel-genai",
        {
            "context": {"span_id": "s3"},
            "attributes": {
                "user.id": "u",
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": ASK,
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.content": ANSWER,
            },
        },
        [("user", ASK)],
        "u",
        ANSWER,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_prompt_comes_out(read, name):
    format, row, prompt, user, _ = SHAPES[name]
    records, reader = read([row], users="one-each")
    assert not reader.rejects
    (record,) = records
    assert turns(record) == prompt
    assert record["user_id"] == (user or record["id"])
    assert [found for found, told in reader.formats.items() if told.records] == [format]
    assert reader.lines()[0].startswith(f"{format}: 1 prompts of 1 records")


@pytest.mark.parametrize("name", SHAPES)
def test_a_demonstration_comes_out(read, name):
    format, row, prompt, _, completion = SHAPES[name]
    if name == "hh as a prompt column":
        prompt = prompt[:1]
    records, reader = read([row], "demonstrations")
    assert not reader.rejects
    assert [(turns(record), record["completion"]) for record in records] == [(prompt, completion)]
    assert reader.lines()[0].startswith(f"{format}: 1 demonstrations of 1 records")


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_each_example_is_of_its_format_and_is_read(read, format):
    for kind in format.kinds:
        if format.name == "contract" and kind not in ("prompts", "pretraining"):
            continue
        assert recognised(dict(format.example), kind) is format
        records, reader = read([format.example], kind, users="one-each")
        assert not reader.rejects
        assert records or kind == "demonstrations"


def test_what_is_left_of_a_record_is_an_extra(read):
    (record,), _ = read([SHAPES["lmsys"][1]], users="anonymous")
    assert record["extra"] == (
        '{"language":"English","model":"m","openai_moderation":[{"flagged":false}],"redacted":true,"turn":2}'
    )


TREE = {
    "message_tree_id": "a",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "a",
        "user_id": "u1",
        "text": "Hi.",
        "role": "prompter",
        "lang": "en",
        "replies": [
            {
                "message_id": "b",
                "user_id": "u2",
                "text": "Go away.",
                "role": "assistant",
                "rank": 1,
                "replies": [],
            },
            {
                "message_id": "c",
                "user_id": "u3",
                "text": "Hello.",
                "role": "assistant",
                "rank": 0,
                "replies": [
                    {
                        "message_id": "d",
                        "user_id": "u1",
                        "text": ASK,
                        "role": "prompter",
                        "replies": [
                            {
                                "message_id": "e",
                                "text": ANSWER,
                                "role": "assistant",
                                "rank": None,
                                "replies": [],
                            }
                        ],
                    }
                ],
            },
            {
                "message_id": "f",
                "user_id": "u4",
                "text": "gone",
                "role": "assistant",
                "rank": 2,
                "deleted": True,
                "replies": [
                    {"message_id": "g", "user_id": "u5", "text": "lost", "role": "prompter", "replies": []}
                ],
            },
        ],
    },
}


def flat(node, parent=None):
    yield {key: value for key, value in node.items() if key != "replies"} | {
        "parent_id": parent,
        "message_tree_id": "a",
    }
    for reply in node["replies"]:
        yield from flat(reply, node["message_id"])


@pytest.mark.parametrize("rows", [[TREE], list(flat(TREE["prompt"])), list(flat(TREE["prompt"]))[::-1]])
def test_a_tree_gives_a_prompt_for_each_prompter_and_the_best_answer_to_it(read, rows):
    prompts, reader = read(rows)
    assert [(record["id"], record["user_id"], turns(record)) for record in prompts] == [
        ("a", "u1", DIALOG[:1]),
        ("d", "u1", DIALOG[:-1]),
    ]
    assert reader.done()["deleted messages left out"] == 1
    shown, reader = read(rows, "demonstrations")
    assert not reader.rejects
    assert [(record["id"], record["completion"], record["labeler_id"]) for record in shown] == [
        ("c", "Hello.", "u3"),
        ("e", ANSWER, "unknown"),
    ]


def test_a_message_whose_parent_is_not_there_is_counted(read):
    rows = [{"message_id": "x", "parent_id": "y", "user_id": "u", "text": "And then?", "role": "prompter"}]
    records, reader = read(rows)
    assert (records, reader.rejects) == ([], [])
    assert reader.left_out() == {"the message that it replies to is not in the file": 1}


def test_otlp_holds_many_spans_a_line(read):
    span = {
        "attributes": [
            {
                "key": "gen_ai.input.messages",
                "value": {
                    "arrayValue": {
                        "values": [
                            {
                                "kvlistValue": {
                                    "values": [
                                        {"key": "role", "value": {"stringValue": "user"}},
                                        {
                                            "key": "parts",
                                            "value": {
                                                "arrayValue": {
                                                    "values": [
                                                        {
                                                            "kvlistValue": {
                                                                "values": [
                                                                    {
                                                                        "key": "type",
                                                                        "value": {"stringValue": "text"},
                                                                    },
                                                                    {
                                                                        "key": "content",
                                                                        "value": {"stringValue": ASK},
                                                                    },
                                                                ]
                                                            }
                                                        }
                                                    ]
                                                }
                                            },
                                        },
                                    ]
                                }
                            }
                        ]
                    }
                },
            },
            {"key": "user.id", "value": {"intValue": "12"}},
        ],
    }
    row = {
        "resourceSpans": [
            {
                "resource": {},
                "scopeSpans": [
                    {
                        "spans": [
                            span | {"spanId": "1"},
                            {"name": "GET /", "spanId": "2"},
                            span | {"spanId": "3"},
                        ]
                    }
                ],
            }
        ]
    }
    records, reader = read([row])
    assert [(record["id"], record["user_id"], turns(record)) for record in records] == [
        ("1", "12", [("user", ASK)]),
        ("3", "12", [("user", ASK)]),
    ]
    assert reader.done() == {"spans without messages left out": 1}


def test_formats_may_be_mixed_in_a_file(read):
    rows = [{**row, "id": f"r{at}"} for at, (_, row, _, _, _) in enumerate(SHAPES.values())]
    records, reader = read(rows, users="one-each")
    assert not reader.rejects
    assert len(records) + reader.copies == len(SHAPES)
    assert sum(told.records for told in reader.formats.values()) == len(SHAPES)


def test_a_record_of_another_kind_says_which(read):
    _, reader = read([{"text": "Why?", "user_id": "u", "id": "a"}, {"question": ASK}], "comparisons")
    assert "which gives prompts and demonstrations, no comparisons" in reader.rejects[1].sentence()


def test_unknown_fields_are_told_how_to_name_them(read):
    records, reader = read([{"utterance": ASK, "who": 3}])
    assert not records
    assert "--map" in reader.rejects[0].reason and "rlhf data formats" in reader.rejects[0].reason
    records, _ = read(
        [{"utterance": ASK, "meta": {"who": 3}}], map={"text": "utterance", "user_id": "meta.who"}
    )
    assert (records[0]["user_id"], turns(records[0])) == ("3", [("user", ASK)])
