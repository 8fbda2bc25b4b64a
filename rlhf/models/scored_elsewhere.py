"""A reward model as others score it: by its own chat template, and by pipeline("text-classification"), they give it our rows.

A score is read at the last token of a row, which here is the one that closes the answer. Many templates write a line break after
it, and some write an answer otherwise than they ask for it (thoughts); a pipeline would squeeze a single score through a sigmoid.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import jinja2

from rlhf.chat import Message, encode_completion, encode_prompt
from rlhf.templates import closing, render

log = logging.getLogger(__name__)

#: a conversation that ends with the assistant's answer is a question, the answer, and the token that closes it
BEFORE = (
    "{% if not add_generation_prompt and messages and messages[-1]['role'] == 'assistant' "
    "and messages[-1]['content'] is string %}{% set answer = messages[-1]['content'] %}"
    "{% set messages = messages[:-1] %}{% set add_generation_prompt = true %}{% endif %}{{ '' }}"
)
AFTER = "{% if answer is defined %}{{ answer + CLOSING }}{% endif %}"

ASKED = [{"role": "user", "content": "Who built it?"}]
TALK = [*ASKED, {"role": "assistant", "content": "Nobody knows."}, {"role": "user", "content": "Why?"}]


def fit_out(model: Any, tokenizer: Any) -> None:
    """Write into a reward model's config and its tokenizer's template what others need to give it the rows that it learns from."""
    model.config.problem_type = "regression"  # or a pipeline takes a lone score for a logit
    model.config.id2label, model.config.label2id = {0: "reward"}, {"reward": 0}
    template = tokenizer.chat_template
    before = [render(tokenizer, messages, asks=True) for messages in (ASKED, TALK)]
    end = json.dumps(tokenizer.convert_ids_to_tokens(closing(tokenizer)))
    # jinja drops one line break at a template's end, which this no longer is
    tokenizer.chat_template = BEFORE + template.removesuffix("\n") + AFTER.replace("CLOSING", end)
    after = [render(tokenizer, messages, asks=True) for messages in (ASKED, TALK)]
    if before != after or not all(_reads_the_same(tokenizer, messages) for messages in (ASKED, TALK)):
        tokenizer.chat_template = template
        log.warning(
            "the reward model's chat template, read in one go, gives other tokens than prompt and answer read one after the other: "
            "scores of what it renders are not ours"
        )


def _reads_the_same(tokenizer: Any, asked: Sequence[Message]) -> bool:
    answer = "The mayor did, in spring."
    messages = [*asked, {"role": "assistant", "content": answer}]
    try:
        whole = tokenizer(render(tokenizer, messages, asks=False), add_special_tokens=False)["input_ids"]
    except jinja2.TemplateError:
        return False
    return whole == encode_prompt(tokenizer, asked) + encode_completion(tokenizer, answer)
