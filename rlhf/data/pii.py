"""Personal data in text: `find` gives kinds and spans, `redact` puts "[EMAIL]" and the like in their place.

Compiled patterns find candidates, validators decide (rlhf.data.pii_rules; telephone numbers here). Both
functions are stateless, and nothing of what they see is logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import phonenumbers

from rlhf.data.pii_rules import RULES


@dataclass(frozen=True)
class Span:
    """A piece of personal data: text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


_MAYBE = re.compile(r"@|\d|[\[({<]\s*at\s*[\])}>]|\bat\b.{1,60}\bdot\b|-----BEGIN", re.I | re.S)
_NEAR = 48  # characters before a candidate in which its context word may stand
_PHONE = re.compile(r"(?<![\w.@#$€£/:-])(?:\+|00)?\(?\d(?:[\d().\-/]| (?! )){5,19}\d(?![\w@]|[.-]\d)")
_PHONE_WORDS = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|cell|fax|ring|reach|text|sms|whatsapp|contact|dial|number is|handy|"
    r"telefon|téléphone|teléfono|móvil|telefono|cellulare)\b", re.I
)  # fmt: skip
_NOT_PHONE = re.compile(
    r"\b(?:isbn|issn|doi|order|invoice|ticket|tracking|case|version|ref|reference|part|sku|model)\b", re.I
)
_DATE = re.compile(
    r"\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ]\d{4}|\d{4}\s?[-/]\s?\d{4}"
)  # and spans of years
_AMERICAN = re.compile(r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}")
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU", "NL", "CA")


def find(text: str) -> list[Span]:
    """Spans of personal data, in order, not overlapping (the earlier, then the longer one wins)."""
    if not _MAYBE.search(text):
        return []
    spans = [*_by_rule(text), *_phones(text)]
    spans.sort(key=lambda span: (span.start, -span.end))
    kept: list[Span] = []
    for span in spans:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def redact(text: str) -> str:
    """The text with each span replaced by its kind in capitals and brackets."""
    parts, at = [], 0
    for span in find(text):
        parts += [text[at : span.start], f"[{span.kind.upper()}]"]
        at = span.end
    return "".join(parts) + text[at:]


def _by_rule(text: str) -> Iterator[Span]:
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            start, end = match.span(1) if match.re.groups else match.span()
            if rule.near and not rule.near.search(text, max(0, start - _NEAR), start):
                continue
            if rule.valid(match):
                yield Span(rule.kind, start, end)


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        number = match[0].rstrip(" .-(/")
        before = text[max(0, match.start() - _NEAR) : match.start()]
        if _is_phone(number, before):
            yield Span("phone", match.start(), match.start() + len(number))


def _is_phone(number: str, before: str) -> bool:
    """International numbers by themselves, American ones by their form, others after a word like "call"."""
    if _DATE.fullmatch(number):
        return False
    if number.startswith(("+", "00")):
        return _valid_number("+" + number.lstrip("+0"), None)
    asked = _PHONE_WORDS.search(before)
    if _NOT_PHONE.search(before[-24:]) and not asked:
        return False
    if _AMERICAN.fullmatch(number):
        return _valid_number(number, "US")
    return bool(asked) and any(_valid_number(number, region) for region in _REGIONS)


def _valid_number(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
