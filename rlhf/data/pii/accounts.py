"""Payment cards (issuer, length, Luhn's check digit) and IBANs (the country's length, ISO 7064 modulo 97)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import ean

from rlhf.data.pii.id_checks import is_valid
from rlhf.data.pii.text import Seen, Span, digits_of

_CARD = re.compile(
    r"(?<![\w./#+-])(?<!\d,)(?:"
    r"\d{4}([ .-])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{4}([ .-])\d{6}\2\d{4,5}"  # American Express, Diners Club
    r"|\d{12,19}"
    r"|\d{4}(?:[ -]?\d){10,15}"
    r")(?![\w]|[.-]\d|,\d\d?(?![\d/]))"  # after a comma: cents, or a column of their own
)
_ISSUERS = (  # first digits, lengths; ISO/IEC 7812 ranges as the issuers publish them
    (r"4", (13, 16, 19)),
    (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    (r"3[47]", (15,)),
    (r"6011|64[4-9]|65", (16, 17, 18, 19)),
    (r"30[0-5]|309|3[689]", (14, 15, 16, 17, 18, 19)),
    (r"35", (16, 17, 18, 19)),
    (r"2131|1800", (15,)),
    (r"62|81", (16, 17, 18, 19)),
    (r"50|5[6-9]|6(?:0|3|7)|0604", (12, 13, 14, 15, 16, 17, 18, 19)),
    (r"220[0-4]|9792|82", (16, 17, 18, 19)),
)
_ISSUED = tuple((re.compile(first), lengths) for first, lengths in _ISSUERS)
_OTHER = re.compile(
    r"(?:\b(?:imei|ean|gtin|upc|barcode|isbn|tracking|order|invoice|serial|parcel|shipment|transaction|reference|ref|sku)"
    r"(?:\s?(?:number|no\.?|nr\.?|code|id))?\s?(?:is|:|#|=|was)?[\s:#]*)$"
)
_ASKED = re.compile(
    r"card|charge|visa|master|amex|maestro|credit|debit|karte|carte|tarjeta|carta|cart[aã]o|kaart"
)

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def accounts(seen: Seen) -> Iterator[Span]:
    after = 0
    for start, end in seen.runs:
        match = _CARD.match(seen.text, start) if start >= after and end - start >= 4 else None
        length = _card_end(match, seen.lower) if match else 0
        if length:
            after = start + length
            yield seen.span("card", start, after)
    for match in _IBAN_START.finditer(seen.text):
        end = _iban_end(seen.text, match)
        if not end and (whole := _IBAN_WHOLE.match(seen.text, match.start())) and _mod_97(whole[0]):
            end = (
                whole.end()
                if _IBAN_ASKED.search(seen.lower, max(0, match.start() - 20), match.start())
                else 0
            )
        if end:
            yield seen.span("iban", match.start(), end)


def luhn(digits: str) -> bool:
    odd = sum(map(int, digits[-1::-2]))
    return (odd + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def _card_end(match: re.Match[str], lower: str) -> int:
    """Length of the card number that the candidate begins with; 0: it is none."""
    written = match[0]
    digits = digits_of(written)
    if len(digits) == 12 and not _ASKED.search(lower, max(0, match.start() - 40), match.start()):
        return 0
    if _is_card(digits):
        if written.isdigit() or len(set(re.sub(r"\d", "", written))) > 1:
            before = lower[max(0, match.start() - 40) : match.start()]
            if not _ASKED.search(before) and (
                _OTHER.search(before) or (len(digits) == 13 and _is_other(digits))
            ):
                return 0
        return len(written)
    shorter = written[:19]  # four groups of four, and what follows them is not of the number
    if (
        len(written) > 19
        and re.fullmatch(r"\d{4}([ .-])\d{4}\1\d{4}\1\d{4}", shorter)
        and not written[19].isdigit()
    ):
        return 19 if _is_card(digits_of(shorter)) else 0
    return 0


def _is_other(digits: str) -> bool:
    """Thirteen digits are more often an article's number (EAN) or a person's than a card's."""
    return ean.is_valid(digits) or any(is_valid(check, digits) for check in ("za.idnr", "ro.cnp", "si.emso"))


def _is_card(digits: str) -> bool:
    """All-equal digits, and runs that a person counted out, belong to nobody."""
    if len(set(digits)) < 2 or not any(
        first.match(digits) and len(digits) in lengths for first, lengths in _ISSUED
    ):
        return False
    return luhn(digits)


_LENGTHS = {  # characters of an IBAN by country, SWIFT's registry (ISO 13616)
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO FK GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE IL IQ TL OM SO", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z]{2}|[a-z]{2})\d\d(?=[ -]?[A-Za-z0-9])")
_IBAN_ASKED = re.compile(r"\biban\b.{0,12}$")
_IBAN_WHOLE = re.compile(r"[A-Za-z]{2}\d\d[A-Za-z0-9]{8,30}(?![A-Za-z0-9])")


def _iban_end(text: str, match: re.Match[str]) -> int:
    """Where the IBAN that starts here ends; 0: there is none. Groups may stand apart by a blank, dot or hyphen."""
    length = _LENGTHS.get(match[0][:2].upper())
    if not length:
        return 0
    taken: list[str] = []
    at = match.start()
    while at < len(text) and len(taken) < length:
        char = text[at]
        if char.isascii() and char.isalnum():
            taken.append(char)
        elif not (char in " -" and text[at - 1].isalnum()):
            return 0
        at += 1
    if len(taken) < length or (at < len(text) and text[at].isascii() and text[at].isalnum()):
        return 0
    words = re.split(r"[ -]", text[match.start() : at])
    if len(words) > 1 and any(len(word) != 4 and word.isalpha() for word in words):
        return 0
    return at if _mod_97("".join(taken)) else 0


def _mod_97(number: str) -> bool:
    return int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1
