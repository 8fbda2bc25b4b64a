"""Lines of prompts with known faults, for the self-check: what the contract must set aside, and where.

Everything is drawn from a seed. A case is a line and the field that a reject must name; None: it is good.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Case = tuple[bytes, str | None]
_WORDS = "river stone lamp garden winter market violin engine planet bridge kettle harbour letter island"
_INVISIBLE = (
    "",
    "   ",
    "\n\t ",
    "\u200b\u200d",
    "\ufeff",
    "\u00a0\u2003",
    "\u0301\u0302",
    "\u3164\u2800",
    "\u2028",
)


def cases(seed: int, count: int) -> list[Case]:
    """`count` lines without line ends, about a third of them wrong, no id used twice but where that is the fault."""
    rng = random.Random(f"lines {seed}")
    made: list[Case] = []
    used: list[str] = []
    for number in range(count):
        row = _good(rng, number)
        if rng.random() < 0.66 or not used:
            made.append((_encoded(row, rng), None))
            used.append(row["id"])
        elif rng.random() < 0.1:
            made.append((_encoded(row | {"id": rng.choice(used)}, rng), "id"))
        elif rng.random() < 0.4:
            made.append((rng.choice(_BROKEN)(_encoded(row, rng)), ""))
        else:
            field, change = rng.choice(_WRONG)
            row = {key: value for key, value in {**row, **change(row, rng)}.items() if value is not Ellipsis}
            made.append((_encoded(row, rng), field))
    return made


def _good(rng: random.Random, number: int) -> dict[str, Any]:
    words = _WORDS.split()
    said = " ".join(rng.choice(words) for _ in range(1 + int(rng.random() * 12)))
    said = rng.choice((said, said + "?", f"«{said}» – été 😀", f"{said}\u2028{said}", f'"{said}":\n{said}'))
    row: dict[str, Any] = {"id": f"line-{number}", "user_id": f"user-{number % 97}"}
    if rng.random() < 0.6:
        row["text"] = said
    else:
        turns = 2 * int(rng.random() * 3) + 1
        roles = ("user", "assistant")
        row["messages"] = [{"role": roles[at % 2], "content": f"{said} {at}"} for at in range(turns)]
    optional: dict[str, Callable[[], Any]] = {
        "created_at": lambda: rng.choice(
            (
                "2024-02-29T12:00:00Z",
                "2023-07-01 08:30:00.5+02:00",
                1714557600,
                1714557600.25,
                "20240501",
                None,
            )
        ),
        "source": lambda: rng.choice(("api", "labeler-plain", None)),
        "use_case": lambda: rng.choice(("chat", "open_qa", None)),
        "meta": lambda: rng.choice(({"a": [1, {"b": None}]}, 'text": x', 10**25, None, [], -0.5)),
    }
    return row | {field: value() for field, value in optional.items() if rng.random() < 0.3}


def _encoded(row: dict[str, Any], rng: random.Random) -> bytes:
    text = json.dumps(row, ensure_ascii=rng.random() < 0.5, separators=rng.choice(((",", ":"), (", ", ": "))))
    if any("\ud800" <= char <= "\udfff" for char in text):
        text = json.dumps(row)
    return text.encode() + rng.choice((b"", b"", b"\r", b"  "))


def _message(**change: Any) -> Callable[..., dict[str, Any]]:
    """Replaces the row's words by a conversation whose first message is changed."""
    message = {
        key: value for key, value in {"role": "user", "content": "Why?", **change}.items() if value is not ...
    }
    return lambda row, rng: {"text": ..., "messages": [message, {"role": "user", "content": "And then?"}]}


def _set(field: str, *values: Any) -> tuple[str, Callable[..., dict[str, Any]]]:
    return field, lambda row, rng: {field: rng.choice(values)}


_WRONG: tuple[tuple[str, Callable[..., dict[str, Any]]], ...] = (
    _set("id", 7, None, True, ["a"], {}, "", " ", "\u200b", "x" * 257, 1.5, ...),
    _set("user_id", 7, None, False, [], "", "\u00a0", "u" * 300, ...),
    ("text", lambda row, rng: {"messages": ..., "text": rng.choice((*_INVISIBLE, None, 5, ["a"], {}, True, ...))}),
    ("text", lambda row, rng: {"messages": ..., "text": rng.choice(("a\x00b", "\x00", "tail \ud83d", "\udc00"))}),
    ("text", lambda row, rng: {"text": "Why?", "messages": [{"role": "user", "content": "Why?"}]}),
    ("messages", lambda row, rng: {"text": ..., "messages": rng.choice(([], {}, "Why?", 3))}),
    ("messages", lambda row, rng: {"text": ..., "messages": [{"role": "assistant", "content": "Yes."}]}),
    ("messages[0]", lambda row, rng: {"text": ..., "messages": [rng.choice(("Why?", 1, None, []))]}),
    ("messages[0].role", _message(role="robot")),
    ("messages[0].role", _message(role=...)),
    ("messages[0].role", _message(role=["user"])),
    ("messages[0].content", _message(content=None)),
    ("messages[0].content", _message(content="\u200b")),
    ("messages[0].content", _message(content="x\x00")),
    ("messages[0].content", _message(content=[{"type": "text", "text": "Why?"}])),
    _set("source", "web", 1, ["api"], "API", ""),
    _set("use_case", "poetry", 0, {}, "Chat"),
    _set("created_at", "yesterday", "", True, [], 12, -1, 1714557600000, "2024-13-01", "2024-02-30", "1999-12-31"),
    _set("created_at", "2999-01-01T00:00:00Z", 1e300, "0000-01-01", "2024-05-01T25:00:00Z", "2024-05-01T10:00+99"),
)  # fmt: skip
_BROKEN: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line.rstrip()[:-1],
    lambda line: line.rstrip() + b"}",
    lambda line: line.rstrip() + b" " + line,
    lambda line: b"[" + line + b"]",
    lambda line: line.replace(b'"', b"'"),
    lambda line: line.rstrip()[:-1] + b",}",
    lambda line: line + b" // a comment",
    lambda line: line.rstrip()[:-1] + b', "x": NaN}',
    lambda line: line.rstrip()[:-1] + b', "x": 1e400}',
    lambda line: line.rstrip()[:-1] + b', "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    lambda line: line.rstrip()[:-1] + b', "x": "\\ud800"}',
    lambda line: line.rstrip()[:-1] + b', "x": 1, "x": 2}',
    lambda line: line.replace(b":", b":\x00", 1),
    lambda line: line[: len(line) // 2] + b"\xff\xfe" + line[len(line) // 2 :],
    lambda line: b"\xed\xa0\x80" + line,
    lambda line: line.decode("utf-8", "replace").encode("utf-16-be").replace(b"\n", b" "),
    lambda line: b'"a string"',
    lambda line: b"null",
    lambda line: b"12",
    lambda line: b"# " + line,
)
