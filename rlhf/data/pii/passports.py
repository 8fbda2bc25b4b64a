"""Passports: a number after the word for it, and the machine-readable lines (ICAO 9303, by their check digits)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlhf.data.pii.id_checks import mrz_digit
from rlhf.data.pii.text import Seen, Span, holds, names

_WORDS = names(
    "passport passports passport's reisepass reisepasses reisepassnummer passnummer pass-nr passnr pass-nummer passeport pasaporte "
    "passaporto passaporte paspoort paspoortnummer paszport paszportu pașaport útlevél passi "
    "pasaport pasaportu pasaporten passinumero "
    "паспорт паспорта загранпаспорт διαβατήριο"
)
_UNSPACED = ("护照", "護照", "パスポート", "旅券", "여권")
_ANY = re.compile("|".join((_WORDS.pattern, *_UNSPACED)))
_STEMS = (
    "passp",
    "reisepass",
    "passnu",
    "pass-n",
    "passnr",
    "passe",
    "pasap",
    "passa",
    "paspo",
    "paszp",
    "pașap",
    "passi",
    "útlev",
    "паспорт",
    "διαβατ",
)
_NUMBER = re.compile(
    r"(?<![\w.,/-])(?:(?-i:[A-Z]{1,3}[ -]?)\d{6,8}|[A-Z]{1,3}\d{6,8}|\d{2}[A-Z]{2}\d{5}|(?=(?:[A-Z]*\d)"
    r"{3})(?=\d*[A-Z])[A-Z0-9]{8,10}|(?P<bare>(?-i:(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{9}))"
    r"|\d{2} ?\d{2} \d{6}|\d{2} \d{7}|\d{7,10})(?!\w|[.,/-]\d|-\w| ?%| \d{3})",
    re.I,
)
_REACH, _BACK = 44, 30
_LABEL = re.compile(r"(?:number|nummer|num\b|no\b|nr\b|n[º°]|№|#|:)\W{0,3}(?:(?:is|was)\W{1,3})?$")
_TWO = re.compile(
    r"(?<![A-Z0-9<])([A-Z0-9<]{9})(\d)[A-Z<]{3}(\d{6})(\d)[MFX<](\d{6})(\d)[A-Z0-9<]{14}[\d<]\d(?![A-Z0-9<])"
)
_ONE = re.compile(r"(?<![A-Z0-9<])P[A-Z<][A-Z<]{3}[A-Z]+(?:<[A-Z]+){0,4}<<[A-Z<]{2,40}(?![A-Z0-9<])")
_CARD = re.compile(r"(?<![A-Z0-9<])[IAC][A-Z<][A-Z<]{3}([A-Z0-9<]{9})(\d)[A-Z0-9<]{15}(?![A-Z0-9<])")
_VOWEL = re.compile("[AEIOU]")
_NOT_NUMBERS = re.compile(r"(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d|[0-3]\d(?:0\d|1[0-2])(?:19|20)\d\d")  # days


def passports(seen: Seen) -> Iterator[Span]:
    if holds(seen.lower, _STEMS) or (not seen.text.isascii() and holds(seen.text, _UNSPACED)):
        for word in _ANY.finditer(seen.lower):
            at = word.end()
            while match := _NUMBER.search(seen.text, at, at + _REACH + 16):
                if match.start() > at + _REACH or "\n\n" in seen.text[at : match.start()]:
                    break
                # of few digits: without a vowel, as the German ones, or after a label: TERMINAL2 is none
                is_word = match["bare"] and _VOWEL.search(match["bare"])
                is_word = is_word and not _LABEL.search(seen.lower, at, match.start())
                if not is_word and not _NOT_NUMBERS.fullmatch(match[0]):
                    yield seen.span("passport", *match.span())
                at = match.end()
            for match in _NUMBER.finditer(seen.text, max(0, word.start() - _BACK), word.start()):
                if re.fullmatch(
                    r"(?:,| \(| is| was| as| on|:|\s)*(?: my| your| his| her| their| our| the)?\s*",
                    seen.lower[match.end() : word.start()],
                ):
                    yield seen.span("passport", *match.span())


def machine_readable(seen: Seen) -> Iterator[Span]:
    """The lines at the foot of a passport or an identity card."""
    if "<<" in seen.text:
        for match in _TWO.finditer(seen.text):
            if sum(mrz_digit(match[place]) == match[place + 1] for place in (1, 3, 5)) >= 2:
                yield seen.span("passport", *match.span())
        for match in _ONE.finditer(seen.text):
            if len(match[0]) >= 30:
                yield seen.span("passport", *match.span())
        for match in _CARD.finditer(seen.text):
            if mrz_digit(match[1]) == match[2]:
                yield seen.span("national_id", *match.span())
