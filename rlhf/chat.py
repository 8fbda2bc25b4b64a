"""Messages to tokens: the tokenizer's own chat template, ChatML where the pipeline made the tokenizer.

A prompt is a list of messages that ends with the user's; a completion is the assistant's answer, closed by
the token that the template closes it by (<|im_end|> in ChatML). Loss and rewards are on completion tokens alone.
What a template accepts, and how answers end, is found in rlhf/templates.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from typing import Any

from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

from rlhf.templates import (
    CLOSE_THOUGHT,
    OPEN_THOUGHT,
    closing,
    control_tokens,
    fitted,
    render,
    thinks,
)

log = logging.getLogger(__name__)

_MARK = "[\U000f0000\U000f0001]"  # what `mark_control_tokens` puts around them
Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": str}

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of the prompt, up to where the assistant begins to speak.

    Control tokens that a user typed are read as ordinary text, so that text from outside cannot end its own turn; decoded they
    are the same text again.
    """
    marked = mark_control_tokens(fitted(tokenizer, messages), _controls(tokenizer))
    return _encode(tokenizer, render(tokenizer, marked, asks=True))


def encode_completion(tokenizer: Any, text: str, *, ended: bool = True) -> list[int]:
    """Token ids of an answer; with the token that closes a turn last where the answer `ended` by itself.

    Of control tokens in it the two around a whole thought that it begins with are the tokenizer's own, and the others are text.
    """
    marked = mark_control_tokens(text, _controls(tokenizer))
    if text.startswith(OPEN_THOUGHT) and CLOSE_THOUGHT in text:
        for tag in (OPEN_THOUGHT, CLOSE_THOUGHT):
            marked = re.sub(f"{_MARK}?{re.escape(tag)}{_MARK}?", tag, marked, count=1)
    ids = _encode(tokenizer, marked)
    return [*ids, closing(tokenizer)] if ended else ids


def _encode(tokenizer: Any, marked: str) -> list[int]:
    if re.search(_MARK, marked):
        return encode_marked_chat(tokenizer, marked)
    return tokenizer(marked, add_special_tokens=False)["input_ids"]


def _controls(tokenizer: Any) -> re.Pattern[str]:
    """What `mark_control_tokens` marks; found once a tokenizer and template, and kept with it."""
    known = vars(tokenizer).setdefault("_rlhf_controls", {})
    if tokenizer.chat_template not in known:
        known[tokenizer.chat_template] = re.compile(
            "|".join(map(re.escape, control_tokens(tokenizer))) or "(?!)"
        )
    return known[tokenizer.chat_template]


def ends(model: Any, tokenizer: Any) -> list[int]:
    """Ids at which an answer of the model ends, rising: those of its generation config, the closing token, EOS."""
    listed = model.generation_config.eos_token_id
    listed = listed if isinstance(listed, list) else [listed]
    return sorted({*listed, closing(tokenizer), tokenizer.eos_token_id} - {None})


def spoken(
    tokenizer: Any, ids: Sequence[int], *, ends: Collection[int], stop: Sequence[str] = ()
) -> tuple[str, bool]:
    """(the text of an answer's tokens as people read it, whether a stop string or one of `ends` ended it).

    People read no thoughts: what stands before `</think>` is left out, and a thought that was cut is an empty answer that has
    not ended. Nor do they read anything from a stop string on.
    """
    has_ended = bool(ids) and ids[-1] in ends
    text = tokenizer.decode(ids[:-1] if has_ended else ids, skip_special_tokens=True)
    if thinks(tokenizer):
        _, is_closed, after = text.rpartition(CLOSE_THOUGHT)
        if is_closed:
            text = after
        elif OPEN_THOUGHT in text:
            return "", False
    cut = min((text.index(end) for end in stop if end in text), default=len(text))
    return text[:cut].strip(), cut < len(text) or has_ended


def with_room(
    records: Sequence[dict[str, Any]],
    tokenizer: Any,
    context: int,
    max_new_tokens: int,
    *,
    may_be_empty: bool = False,
) -> list[dict[str, Any]]:
    """The records {messages} whose prompt leaves room for so many tokens of answer in the model's context.

    Says in the log how many do not; raises ValueError where none does, unless that is allowed.
    """
    room = context - max_new_tokens
    kept = [record for record in records if len(encode_prompt(tokenizer, record["messages"])) <= room]
    if records and not kept and not may_be_empty:
        raise ValueError(
            f"no prompt leaves room for {max_new_tokens} new tokens (max_new_tokens) in base.context ({context})"
        )
    if len(kept) < len(records):
        log.warning(
            "%d of %d prompts leave no room for %d new tokens in base.context (%d) and are left out",
            len(records) - len(kept),
            len(records),
            max_new_tokens,
            context,
        )
    return kept
