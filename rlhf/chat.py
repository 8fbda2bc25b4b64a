"""Messages to tokens: the tokenizer's own chat template, ChatML where the pipeline made the tokenizer.

A prompt is a list of messages that ends with the user's; a completion is the assistant's answer, closed by
the tokenizer's EOS (<|im_end|> in ChatML). Loss and rewards are on completion tokens alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": str}

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt as text, up to where the assistant begins to speak.

    Special tokens that a user typed are broken up, so that text from outside cannot end its own turn.
    """
    return tokenizer.apply_chat_template(
        [{**message, "content": disarm(tokenizer, message["content"])} for message in messages],
        tokenize=False,
        add_generation_prompt=True,
    )


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of `render_prompt`."""
    return tokenizer(render_prompt(tokenizer, messages), add_special_tokens=False)["input_ids"]


def encode_completion(tokenizer: Any, text: str, *, ended: bool = True) -> list[int]:
    """Token ids of an answer; with the EOS token last where the answer `ended` by itself."""
    ids = tokenizer(disarm(tokenizer, text), add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id] if ended else ids


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


def disarm(tokenizer: Any, text: str) -> str:
    """`text` with the tokenizer's special tokens made ordinary ("<|im_end|>" becomes "< |im_end|>")."""
    for token in special_tokens(tokenizer):
        if token in text:
            text = text.replace(token, token[0] + " " + token[1:])
    return text


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts that the tokenizer reads as one token of control: those it has a role for, and those it only lists as special."""
    listed = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*tokenizer.all_special_tokens, *listed})


def require_chat_template(tokenizer: Any, where: str) -> None:
    if not tokenizer.chat_template:
        raise ValueError(
            f"{where} has no chat template; add chat_template to its tokenizer_config.json or a chat_template.jinja"
        )
