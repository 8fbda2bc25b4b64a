"""A tokenizer's chat template: what it accepts, what it writes after an answer, and what an import mends in it.

Everything is found by rendering, never by the name of a family. What an import mends is written into the template itself, so that
whoever serves an exported model renders what the model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import jinja2

Message = Mapping[str, str]

#: words that stand for a turn's text while a template is tried; no template says them by itself
_WORDS = ("qazwsx", "edcrfv", "tgbyhn", "ujmikl")
OPEN_THOUGHT, CLOSE_THOUGHT = "<think>", "</think>"
#: switches by which templates let a user turn thinking off, and the value that does
SWITCHES = {"enable_thinking": "false", "thinking": "false"}
#: how tokens that end a document are called
END_OF_TEXT = re.compile(r"^\W*(end.?of.?(text|sentence)|/s|eos)\W*$", re.IGNORECASE)


class Accepts(NamedTuple):
    """Which conversations a template renders whole; the others are fitted to it (rlhf/chat.py)."""

    system: bool  # a system turn before the first user turn
    late_system: bool  # a system turn further on
    repeated: bool  # two turns of one role in a row
    assistant_first: bool  # a conversation that the assistant begins


def accepts(tokenizer: Any) -> Accepts:
    """Found once a tokenizer and template, and kept with it."""
    known = vars(tokenizer).setdefault("_rlhf_accepts", {})
    if tokenizer.chat_template not in known:
        known[tokenizer.chat_template] = Accepts(
            system=_renders(tokenizer, "system", "user"),
            late_system=_renders(tokenizer, "user", "assistant", "system", "user"),
            repeated=_renders(tokenizer, "user", "user")
            and _renders(tokenizer, "user", "assistant", "assistant", "user"),
            assistant_first=_renders(tokenizer, "assistant", "user"),
        )
    return known[tokenizer.chat_template]


def _renders(tokenizer: Any, *roles: str) -> bool:
    """Whether every turn's text is in what such a conversation renders to."""
    turns = [{"role": role, "content": word} for role, word in zip(roles, _WORDS, strict=False)]
    try:
        text = render(tokenizer, turns, asks=True)
    except jinja2.TemplateError:
        return False
    places = [text.find(turn["content"]) for turn in turns]
    return -1 not in places and places == sorted(places)


def render(tokenizer: Any, messages: Sequence[Message], *, asks: bool) -> str:
    """The conversation as text; asks: up to where the assistant begins to speak. Raises jinja2.TemplateError."""
    return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)


def fitted(tokenizer: Any, messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as the template takes them: a system turn that it refuses joins the user turn after it, turns of one role in
    a row become one, both by a blank line; what an assistant says before any user is left out where it is refused."""
    fit = accepts(tokenizer)
    turns = [dict(message) for message in messages]
    if not fit.assistant_first:
        first = next((at for at, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
        while first < len(turns) and turns[first]["role"] == "assistant":
            del turns[first]
    for at, turn in enumerate(turns):
        is_taken = fit.system if at == 0 else fit.late_system
        if turn["role"] == "system" and not is_taken:
            turn["role"], turn["was"] = "user", "system"
    joined: list[dict[str, str]] = []
    for turn in turns:
        was_system = turn.pop("was", None)
        if (
            joined
            and joined[-1]["role"] == turn["role"]
            and (not fit.repeated or was_system or joined[-1].get("was"))
        ):
            joined[-1]["content"] = f"{joined[-1]['content']}\n\n{turn['content']}"
            joined[-1].pop("was", None)
            continue
        joined.append(turn | ({"was": was_system} if was_system else {}))
    for turn in joined:
        turn.pop("was", None)
    return joined


def closing(tokenizer: Any) -> int:
    """The id of the token that closes an answer: the first control token that the template writes after one, else EOS."""
    if getattr(tokenizer, "chat_template", None) is None:
        return tokenizer.eos_token_id
    known = vars(tokenizer).setdefault("_rlhf_closing", {})
    if tokenizer.chat_template not in known:
        known[tokenizer.chat_template] = _closing(tokenizer)
    return known[tokenizer.chat_template]


def _closing(tokenizer: Any) -> int:
    turns = [{"role": "user", "content": _WORDS[0]}, {"role": "assistant", "content": _WORDS[1]}]
    after = render(tokenizer, turns, asks=False).rpartition(_WORDS[1])[2]
    added = tokenizer.added_tokens_decoder
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next(
        (token for token in ids if token in added and added[token].content.strip()), tokenizer.eos_token_id
    )


def control_tokens(tokenizer: Any) -> list[str]:
    """Tokens that steer a conversation, longest first: special ones, and added ones that the template itself writes."""
    added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    template = tokenizer.chat_template or ""
    thought = (OPEN_THOUGHT, CLOSE_THOUGHT)
    written = {
        text
        for text, special in added.items()
        if text.strip() and (special or text in template or text in thought)
    }
    return sorted(written | set(tokenizer.all_special_tokens), key=lambda text: (-len(text), text))


def thinks(tokenizer: Any) -> bool:
    """Whether the template, or the vocabulary, knows thoughts before an answer."""
    template = getattr(tokenizer, "chat_template", None)
    return template is not None and (
        CLOSE_THOUGHT in template or CLOSE_THOUGHT in tokenizer.added_tokens_encoder
    )


def end_of_text(tokenizer: Any) -> int:
    """The id of the token that parts documents: one called so, else EOS or BOS, whichever is no part of a chat turn."""
    if tokenizer.chat_template is None:
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    named = sorted(token for token in special | set(tokenizer.all_special_tokens) if END_OF_TEXT.match(token))
    ids = [tokenizer.convert_tokens_to_ids(token) for token in named]
    turns = [{"role": "user", "content": _WORDS[0]}, {"role": "user", "content": _WORDS[1]}]
    text = render(tokenizer, fitted(tokenizer, turns), asks=True)
    turn = set(tokenizer(text.partition(_WORDS[0])[2], add_special_tokens=False)["input_ids"])
    own = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    return next(
        token for token in [*ids, *(token for token in own if token not in turn), *own] if token is not None
    )


def require_usable(tokenizer: Any, where: str) -> None:
    """Raise ValueError, in one sentence, for a template that cannot be rendered."""
    template = tokenizer.chat_template
    if not template:
        raise ValueError(
            f"{where} has no chat template; add chat_template to its tokenizer_config.json or a chat_template.jinja"
        )
    if isinstance(template, dict):
        if "default" not in template:
            raise ValueError(
                f"{where} has chat templates named {', '.join(sorted(template))} and none named default; "
                "make one of them the chat_template"
            )
        tokenizer.chat_template = template["default"]
    try:
        text = render(tokenizer, [{"role": "user", "content": _WORDS[0]}], asks=True)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        said = f"line {line}: {error}" if line else str(error)
        raise ValueError(f"{where}: its chat template does not render a question ({said})") from None
    if _WORDS[0] not in text:
        raise ValueError(f"{where}: its chat template leaves out what a user says")


def mend(tokenizer: Any, today: date) -> list[str]:
    """Writes into the template what training needs it to say every time; returns a sentence for each change.

    The date is `today`, thinking is off unless somebody asks for it, and a thought that a prompt opens is closed.
    """
    said = []
    template = tokenizer.chat_template
    dated = re.sub(
        r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""", lambda call: repr(today.strftime(call[2])), template
    )
    if dated != template:
        said.append(f"its chat template prints the date: it is {today.isoformat()} from now on (chat.today)")
    for switch, off in SWITCHES.items():
        if re.search(rf"(?<![\w.]){switch}(?!\w)", dated):
            dated = f"{{%- if {switch} is not defined %}}{{%- set {switch} = {off} %}}{{%- endif %}}" + dated
            said.append(f"thinking is off unless {switch} is given")
    tokenizer.chat_template = dated
    asked = render(tokenizer, [{"role": "user", "content": _WORDS[0]}], asks=True)
    if asked.rstrip().endswith(OPEN_THOUGHT):
        tokenizer.chat_template = dated + (
            "{%- if add_generation_prompt %}{{- '\\n" + CLOSE_THOUGHT + "\\n\\n' }}{%- endif %}"
        )
        said.append("the thought that its prompt opens is closed")
    return said


def describe(tokenizer: Any) -> list[str]:
    """What is done to conversations for this template's sake, a sentence each."""
    fit, said = accepts(tokenizer), []
    if not fit.system:
        said.append("its chat template takes no system turn: it is joined to the user turn after it")
    if not fit.late_system:
        said.append("its chat template takes no system turn later on: it is joined to the user turn after it")
    if not fit.repeated:
        said.append(
            "its chat template takes no two turns of one role in a row: they are joined by a blank line"
        )
    if not fit.assistant_first:
        said.append("its chat template lets no assistant begin: what one says before any user is left out")
    if closing(tokenizer) != tokenizer.eos_token_id:
        closed, eos = tokenizer.convert_ids_to_tokens([closing(tokenizer), tokenizer.eos_token_id])
        said.append(
            f"its chat template closes answers by {closed}, not by EOS ({eos}): answers end at either"
        )
    return said
