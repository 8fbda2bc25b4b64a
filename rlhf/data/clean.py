"""Pretraining text without what pages carry besides it: control characters, repeated lines, boilerplate lines."""

from __future__ import annotations

import re
from typing import Any

from rlhf.data.fold import fold

Record = dict[str, Any]
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\u200b\u2060]")
_BLANK_LINES = re.compile(r"\n{3,}")
_BOILERPLATE = re.compile(
    r"(?:[©(]|copyright\b).{0,80}\ball rights reserved\W*$"
    r"|all rights reserved\W*$"
    r"|(?:we|this (?:web)?site) uses? cookies\b"
    r"|(?:accept|reject) (?:all )?cookies\W*$|cookie (?:policy|settings|preferences)\W*$"
    r"|(?:please )?enable javascript\b|javascript (?:is|must be) (?:disabled|enabled|required)\b"
    r"|(?:click|tap) here (?:to|for)\b.{0,60}$|(?:read|learn|show|load|see) more\W*$"
    r"|(?:share|follow us|tweet|pin) (?:this |on |it )*(?:(?:facebook|twitter|x|instagram|linkedin|pinterest|whatsapp|email)\W*)+$"
    r"|(?:subscribe|sign up)(?: now| here| today)?(?: (?:to|for) (?:our|the) newsletter)?\W*$"
    r"|(?:log|sign) ?in(?: or (?:register|sign ?up))?\W*$|skip to (?:main )?content\W*$"
    r"|terms (?:of (?:use|service)|and conditions)(?: (?:and|\|) privacy policy)?\W*$|privacy policy\W*$"
    r"|(?:advertisement|sponsored(?: content)?|back to top|print this page|home ?[>»|].{0,80})\W*$"
)  # of a folded line
_LONG = 30  # characters, for a line said twice to be an accident: verses and lists repeat short ones


def clean(text: str) -> str:
    """The text without control characters, lines said before in it, and lines that are boilerplate; may be empty.

    A line counts as said before if it is long, or equals the one just above it.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    seen: set[str] = set()
    kept: list[str] = []
    above = ""
    for line in text.split("\n"):
        folded = fold(line)
        if folded and (folded == above or folded in seen or _BOILERPLATE.match(folded)):
            continue
        if len(folded) >= _LONG:
            seen.add(folded)
        above = folded or above
        kept.append(line.rstrip())
    return _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip()


def cleaned(document: Record) -> Record | None:
    """The document, cleaned; None where nothing is left of it."""
    text = clean(document["text"])
    return {**document, "text": text} if text else None
