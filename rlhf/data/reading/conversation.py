"""Conversations of any log as the contract's: system, user and assistant in turn, text alone, nothing empty.

Text parts are joined. Tool turns, tool calls, thoughts in fields of their own and empty turns are left out and
counted; the neighbours of what is left out are joined by a blank line, so that no chat template meets the same
speaker twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.data.fields import string
from rlhf.data.lines import Wrong
from rlhf.data.reading.formats import LeftOut, Notes

Turn = dict[str, str]
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "ai": "assistant",
    "bot": "assistant", "bing": "assistant", "bard": "assistant", "claude": "assistant",
    "tool": "tool", "function": "tool", "ipython": "tool", "observation": "tool", "environment": "tool",
    "function_call": "tool", "function_response": "tool", "tool_call": "tool", "tool_response": "tool",
    "function_call_output": "tool",
}  # fmt: skip
_NONE: dict[str, Any] = {}  # never changed
TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
TOOL_PARTS = frozenset((
    "tool_use", "tool_result", "tool_call", "tool_call_response", "server_tool_use", "web_search_tool_result",
    "function_call", "function_call_output", "tool-call", "tool-result",
))  # fmt: skip
THOUGHT_PARTS = frozenset(("thinking", "redacted_thinking", "reasoning"))
_CALLS = ("tool_calls", "function_call")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_SAID = frozenset(("role", "content", *_CALLS, *_THOUGHTS))
TOOL_TURNS, TOOL_CALLS = "tool turns left out", "tool calls left out"
EMPTY, JOINED, THOUGHTS = "empty turns left out", "turns joined to the same speaker's", "thoughts left out"


@dataclass(slots=True)
class Conversation:
    """turns: {role, content}, no two neighbours by one speaker, but for system turns none empty.

    fields: of each turn, what else its message held. rests_on_tools: how many turns stood before the last
    tool turn. missing: by turn, the kind of part (image_url, input_audio) that its message lost.
    """

    turns: list[Turn] = field(default_factory=list)
    fields: list[dict[str, Any]] = field(default_factory=list)
    rests_on_tools: int = -1
    missing: dict[int, str] = field(default_factory=dict)
    has_fields: bool = False

    def upto(self, end: int) -> None:
        del self.turns[end:], self.fields[end:]
        if self.has_fields:
            self.has_fields = any(self.fields)


def is_plain(messages: list[Turn]) -> bool:
    """Whether checked messages need no cleaning: speakers take turns."""
    before = ""
    for message in messages:
        role = message["role"]
        if role == before:
            return False
        before = role
    return True


def cleaned(given: Any, notes: Notes, where: str = "messages") -> Conversation:
    """The conversation of a list of messages in any dialect; raises Wrong with the place in it."""
    if not isinstance(given, list) or not given:
        raise Wrong(where, "must be a list of {role, content}, not empty")
    done = Conversation()
    turns = done.turns
    before = ""
    for at, message in enumerate(given):
        if not isinstance(message, dict):
            if message is None:
                notes[EMPTY] += 1
                continue
            raise Wrong(f"{where}[{at}]", "must be an object {role, content}")
        given_role = message.get("role")
        role = ROLES.get(given_role) if type(given_role) is str else None
        if role is None:
            role = _role(message, where, at)
        if role == "thought":
            notes[THOUGHTS] += 1
            continue
        content = message.get("content")
        lost = ""
        if role == "tool":
            done.rests_on_tools = len(turns)
            notes[TOOL_TURNS] += 1
            continue
        if type(content) is not str:
            content, lost = _text(content, notes, done, f"{where}[{at}].content")
        if len(message) > 2:
            if role == "assistant":
                _leave_out_calls(message, content, notes, done)
            rest = {key: item for key, item in message.items() if key not in _SAID and item is not None}
        else:
            rest = _NONE
        if "!" <= content[:1] <= "~":
            if "\x00" in content:
                raise Wrong(f"{where}[{at}].content", "holds a NUL or a lone surrogate")
        else:
            content = _visible(content, f"{where}[{at}].content")
        if lost and role == "user":
            done.missing[len(turns) - (before == role)] = lost
        if not content:
            if not _is_call(message):
                notes[EMPTY] += 1
            continue
        if role == before:
            turns[-1]["content"] += "\n\n" + content
            done.fields[-1] = done.fields[-1] | rest
            notes[JOINED] += 1
        else:
            turns.append({"role": role, "content": content})
            done.fields.append(rest)
        if rest:
            done.has_fields = True
        before = role
    return done


def with_system(done: Conversation, text: str) -> None:
    """Put a system turn before the others, or before the text of the one that is there."""
    if done.turns and done.turns[0]["role"] == "system":
        done.turns[0]["content"] = f"{text}\n\n{done.turns[0]['content']}"
        return
    done.turns.insert(0, {"role": "system", "content": text})
    done.fields.insert(0, {})
    done.missing = {at + 1: kind for at, kind in done.missing.items()}
    done.rests_on_tools += done.rests_on_tools >= 0


def prompt(done: Conversation, notes: Notes) -> None:
    """Cut the conversation after its last user turn; raises LeftOut where it has none that text can answer."""
    turns = done.turns
    end = len(turns)
    while end and turns[end - 1]["role"] != "user":
        end -= 1
    if done.missing:
        lost = done.missing.get(end - 1) or (not end and next(iter(done.missing.values())))
        if lost:
            raise LeftOut(f"the user's turn holds a part of type {lost}")
    if not end:
        raise LeftOut("no turn of a user")
    if done.missing and any(done.missing.get(at) for at in range(end)):
        notes.update(f"parts of type {kind} left out" for at, kind in done.missing.items() if at < end)
    answers = len(turns) - end
    if answers:
        notes["turns after the last user's left out"] += answers
        done.upto(end)


def demonstration(done: Conversation, notes: Notes) -> str:
    """Cut the last assistant turn, and what follows it, off the conversation: the completion.

    Raises LeftOut where there is none, or where it answers what the text alone does not hold.
    """
    turns = done.turns
    end = len(turns)
    while end and turns[end - 1]["role"] != "assistant":
        end -= 1
    if not end:
        raise LeftOut("no turn of an assistant")
    if len(turns) > end:
        notes["turns after the last assistant's left out"] += len(turns) - end
    completion = turns[end - 1]["content"]
    asked = end - 1
    while asked and turns[asked - 1]["role"] != "user":
        asked -= 1
    if not asked:
        raise LeftOut("no turn of a user before the answer")
    if done.rests_on_tools > asked - 1:
        raise LeftOut("the answer rests on tool turns")
    if done.fields[end - 1].get("weight") == 0:
        raise LeftOut("the answer has weight 0")
    done.upto(end - 1)
    prompt(done, notes)
    return completion


def _role(message: dict[str, Any], where: str, at: int) -> str:
    given = message.get("role")
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None and isinstance(given, str):
        role = ROLES.get(given.strip().lower())
    item = message.get("type")  # of the Responses API
    if role is None and given is None and isinstance(item, str):
        if item in TOOL_PARTS:
            return "tool"
        if item in THOUGHT_PARTS:
            return "thought"
    if role is None:
        raise Wrong(f"{where}[{at}].role", "must be one of system, developer, user, assistant, tool")
    return role


def _visible(content: str, where: str) -> str:
    """The content, or "" where there is nothing to read in it; raises Wrong for characters that no text holds."""
    try:
        return string(content, where)
    except Wrong as wrong:
        if wrong.reason.startswith("empty"):
            return ""
        raise


def _text(content: Any, notes: Notes, done: Conversation, where: str) -> tuple[str, str]:
    """(the text of content that is no string, the type of a part that is no text)."""
    if content is None:
        return "", ""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise Wrong(where, f"must be text or a list of parts, found {type(content).__name__}")
    texts, lost = [], ""
    for at, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        if part is None:
            continue
        if not isinstance(part, dict):
            raise Wrong(
                f"{where}[{at}]", f"must be text or a part {{type, text}}, found {type(part).__name__}"
            )
        kind = part.get("type")
        if not isinstance(kind, str | None):
            raise Wrong(f"{where}[{at}].type", f"must be a string, found {type(kind).__name__}")
        text = part.get("text")
        if isinstance(text, dict):  # OpenAI's threads: {"text": {"value": ...}}
            text = text.get("value")
        if kind in TEXT_PARTS and text is None:
            text = part.get("content")  # OpenTelemetry's parts
        if kind in TEXT_PARTS or (kind is None and isinstance(text, str)):
            if text is not None and not isinstance(text, str):
                raise Wrong(f"{where}[{at}].text", f"must be a string, found {type(text).__name__}")
            texts.append(text or "")
        elif kind in TOOL_PARTS:
            done.rests_on_tools = len(done.turns)
            notes["tool parts left out"] += 1
        elif kind in THOUGHT_PARTS:
            notes[THOUGHTS] += 1
        elif kind is not None and kind.isidentifier() and len(kind) < 40:
            lost = kind
        else:
            raise Wrong(
                f"{where}[{at}].type", "must name a kind of part: text, or one that is left out by its name"
            )
    return "\n".join(text for text in texts if text), lost


def _is_call(message: dict[str, Any]) -> bool:
    return any(message.get(name) for name in _CALLS)


def _leave_out_calls(message: dict[str, Any], content: str, notes: Notes, done: Conversation) -> None:
    if _is_call(message):
        done.rests_on_tools = len(done.turns)
        notes[TOOL_CALLS if content else TOOL_TURNS] += 1
    if any(message.get(name) for name in _THOUGHTS):
        notes[THOUGHTS] += 1
