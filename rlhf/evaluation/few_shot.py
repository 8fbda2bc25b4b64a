"""The base model asked as base models are: a few demonstrations as plain text, then the question (arXiv:2005.14165).

What a chat template marks with tokens that base has never seen, "Question:" and "Answer:" say in words: without it,
a comparison with base measures that it knows no chat, and not what demonstrations are worth.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from rlhf import seeds
from rlhf.chat import Message, encode_prompt

STOP = ("\n",)  # an answer is a line: what follows is another question
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %} {{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}Question: {{ message['content'] }}\nAnswer:"
    "{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
)


def plain(tokenizer: Any) -> Any:
    """A copy of the tokenizer whose chat template is plain text."""
    found = copy.deepcopy(tokenizer)
    found.chat_template = PLAIN
    return found


def shots(
    demonstrations: Sequence[dict[str, Any]], tokenizer: Any, *, count: int, tokens: int, seed: int
) -> list[list[Message]]:
    """Demonstrations drawn by seed, a question and its answer each, of at most tokens / (2 count) tokens.

    So `count` of them leave half of the room for the prompt. tokenizer: `plain`. Where none is so short: none.
    """
    found: list[list[Message]] = []
    for record in seeds.shuffled(demonstrations, seed, "few-shot demonstrations"):
        if len(found) == count:
            break
        turns = [*record["messages"], {"role": "assistant", "content": record["completion"]}]
        turns = [{"role": turn["role"], "content": _line(turn["content"])} for turn in turns]
        if len(record["messages"]) == 1 and len(encode_prompt(tokenizer, turns)) <= tokens // (2 * count):
            found.append(turns)
    return found


def few_shot(
    examples: Sequence[list[Message]], tokenizer: Any, messages: Sequence[Message], tokens: int
) -> list[Message]:
    """The examples, then the prompt: as many of them, the last first left out, as `tokens` have room for."""
    for kept in range(len(examples), 0, -1):
        turns = [turn for example in examples[:kept] for turn in example]
        if len(encode_prompt(tokenizer, [*turns, *messages])) <= tokens:
            return [*turns, *messages]
    return list(messages)


def _line(text: str) -> str:
    return " ".join(text.split())
