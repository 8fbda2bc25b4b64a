"""Telephone numbers of any country: international ones by themselves, national ones by their form or by what is said.

A form that belongs to telephones alone (an area code in brackets, a trunk 0 with groups, 3-3-4 as in North America)
needs no word. Other runs of digits count after "call", "tel." and the like, in the languages that are spoken most.
555-01xx, which North America keeps for fiction, counts too: it stands where a telephone number stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from rlhf.data.pii.text import Seen, Span, digits_of, labelled_otherwise, last, names

_GAP = r"(?:\)[ .\-/]?| ?\(| ?[-/] ?| ?[.·] ?| )?+"
_INTERNATIONAL = re.compile(
    rf"(?<![\w+])(?<!\d[.,:/-])[(\[]?(?:\+ ?|(?<!\d )(?:00 ?|011[ -]?))[(]?[1-9](?:{_GAP}\d)*+"
)
_NATIONAL = re.compile(rf"(?<![\w$€£¥#+/@-])(?<!\d[.,:])\(?\d(?:{_GAP}\d)*+")
_EXTENSION = re.compile(
    r"[ ,;]{0,2}(?:x|ext\.?|extn\.?|extension|durchwahl|dw\.?|poste|int\.|wew\.?|доб\.?|;ext=|#)[ .:]{0,2}\d{1,6}(?!\w)"
)
_SAID = names(
    "call called calls caller calling phone phones telephone tel tel_no ph mobile mob cell cellphone fax ring dial text texted sms "
    "whatsapp viber telegram signal hotline helpline landline switchboard voicemail reach reached contact pager "
    "my_number your_number his_number her_number our_number their_number number_is number's mobile_number phone_number home_number "
    "work_number contact_number handy telefon telefonnummer tel.nr rufnummer mobil mobilnummer handynummer anrufen anruf "
    "erreichbar erreichen fon telefax téléphone telephone portable appeler appelez appelle joindre joignable numéro fixe "
    "mobile teléfono telefono móvil movil celular llamar llame llámame llama llamarme contactar número cellulare chiamare "
    "chiama chiamami chiamarmi recapito numero telefoon telefoonnummer bel bellen mobiel nummer telefone telemóvel ligue "
    "ligar liga telefonu telefonicznie komórka zadzwoń numer puhelin puhelinnumero soita telefonnr mobilnr ring_mig ring_meg "
    "tlf tlf. telefonszám hívjon телефон тел моб звоните позвоните номер мобильный τηλέφωνο κινητό telefonum cep "
    "هاتف جوال फ़ोन फोन मोबाइल"
)
_SAID_UNSPACED = re.compile(r"电话|手机|電話|手機|携帯|聯絡|联系|致电|전화|휴대폰|연락처|โทร|טלפון|נייד")
_SAID_AFTER = re.compile(
    r"\s?[(\[,]?\s?(?:is my|\(?mobile|\(?cell|\(?home|\(?work|\(?office|\(?fax|\(?phone|\(?landline|to reach|to call)\b"
)
_REACH = 48

_DATE = re.compile(
    r"(?:(?:1[5-9]|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:1[5-9]|20)\d\d"
    r"|(?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12]\d|3[01])[-./](?:1[5-9]|20)\d\d)(?!\d)[ ,]*"
)
_YEARS = re.compile(r"(?:(?:1[5-9]|20)\d\d[ /-]*)+")
_DECIMALS = re.compile(r"\d+\.\d+|.*\d\.\d+ +\(?\d+\.\d.*|0\.\d.*|.*\b\d{1,2}\.\d\d ?- ?\d{1,2}\.\d\d\b.*")
_HALVES = re.compile(r"\d{3,4}\.\d{4}")  # Australians part eight digits by a dot
_DOTTED_QUAD = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_ISBN = re.compile(
    r"(?=(?:\D*\d){10}\D*$|(?:\D*\d){13}\D*$)(?:97[89][- ])?\d{1,5}[- ]\d{1,7}[- ]\d{1,6}[- ]\d"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:([ .])000)+|\d{1,3}(?:[ .]\d{3})+")

_NANP = re.compile(
    r"(?:1[ .-]?)?(?:\([2-9]\d\d\)[ .-]?[2-9]\d\d[ .-]?\d{4}|[2-9]\d\d([ .-])[2-9]\d\d[ .-]\d{4}|[2-9]\d\d/[2-9]\d\d-\d{4})"
)
_NANP_SOME = re.compile(r"(?:1[ .-]?)?(?:\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}|\d{3}([.-])\d{3}\1\d{4})")
_AREA = re.compile(
    r"(?:[80][ -]?)?\((?!(?:1[89]|20)\d\d\))0?\d{1,5}\)[ .\-/]?\d{2,5}(?:[ .\-/]?\d{2,5}){0,3}"
)
_TRUNK = re.compile(r"0\d{1,5}(?: ?[ /.-] ?\d{2,8}| \d){1,5}")
_RUSSIAN = re.compile(r"8[ -]?\(?\d{3}\)?[ -]?\d{3}[ -]\d\d[ -]?\d\d")
_SHAPED = (  # groups that one country alone writes so; its plan must know the number
    (re.compile(r"[67]\d\d \d\d \d\d \d\d|9\d\d \d\d \d\d \d\d|9\d \d{3} \d\d \d\d"), "ES"),
    (re.compile(r"1[3-9]\d[ -]\d{4}[ -]\d{4}"), "CN"),
    (re.compile(r"\d\d 9?\d{4}-\d{4}"), "BR"),
    (re.compile(r"[6-9]\d{4}[ -]\d{5}"), "IN"),
    (re.compile(r"3\d\d[ .-]\d{3}[ .-]\d{4}|3\d\d[ .-]\d{7}"), "IT"),
    (re.compile(r"2\d\d \d{3} \d{4}|69\d \d{3} \d{4}"), "GR"),
    (re.compile(r"\d\d \d{4} \d{4}"), "MX"),
    (re.compile(r"06 \d\d \d{3} \d{4}|06-?[237]0[- /]?\d{3}[- ]?\d{4}"), "HU"),
)
_PLAIN_TRUNK = (
    ("GB", re.compile(r"07\d{9}|0[12]\d{9}")),
    ("FR", re.compile(r"0[1-9]\d{8}")),
    ("AU", re.compile(r"04\d{8}")),
)


def phones(seen: Seen) -> Iterator[Span]:
    end = 0
    for match in _INTERNATIONAL.finditer(seen.text):
        for start, stop in _international(seen, match):
            end = _with_extension(seen.lower, stop)
            yield seen.span("phone", start, end)
    for match in _NATIONAL.finditer(seen.text):
        if len(match[0]) >= 7:
            for start, stop in _nationals(seen, match):
                yield seen.span("phone", start, _with_extension(seen.lower, stop))


def _with_extension(lower: str, end: int) -> int:
    more = _EXTENSION.match(lower, end)
    return more.end() if more else end


def _ends_well(seen: Seen, end: int) -> bool:
    """No letter, percent sign or further number hangs on to it."""
    return not re.match(r"[^\W\d_]|_|[:@%]\w|[,.]\d|-[^\W_]", seen.text[end : end + 2]) or bool(
        _EXTENSION.match(seen.lower, end)
    )


def _international(seen: Seen, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    written, start = match[0], match.start()
    cut = _second(written)
    if cut:
        written = written[:cut]
    digits = digits_of(written)
    if not re.search(r"[+]", written[:3]):
        digits = digits[3:] if digits.startswith("011") and not written.startswith("00") else digits[2:]
        if not _said(seen, start, start + len(written)) and (
            written.isdigit() or labelled_otherwise(seen.lower, start)
        ):
            return
    while len(digits) > 15 and " " in written:  # what follows is a number of its own
        written = written[: written.rindex(" ")]
        digits = digits_of(written)
    end = start + len(written)
    if written[0] in "([" and written.count(")") < written.count("("):
        start += 1
    if not (7 <= len(digits) <= 15) or not _ends_well(seen, end) or _DECIMALS.fullmatch(written.lstrip("+ ")):
        return
    code = _calling_code(digits)
    if (
        not code
        or (code == "1" and len(digits) != 11)
        or len(digits) - len(code) < 5
        or digits.endswith("000000")
    ):
        return
    if len(digits) < 9 and not _said(seen, start, end) and not re.search(r"[ ()-]", written[2:]):
        return
    yield start, end


def _second(written: str) -> int:
    """Where a second number begins in a run of two; else 0."""
    again = re.search(r"(?<=\d)[ /]{1,3}(?:00[1-9][\d ().-]{7}|\(?\+)", written[8:])
    return 8 + again.start() if again else 0


@cache
def _codes() -> frozenset[str]:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    return frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))


def _calling_code(digits: str) -> str:
    return next((digits[:length] for length in (1, 2, 3) if digits[:length] in _codes()), "")


def _nationals(seen: Seen, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """The number or numbers in a run of digits, blanks, brackets, dots, slashes and hyphens."""
    written, start = match[0], match.start()
    if written[0] == "(" and written.count(")") < written.count("("):  # the bracket is the sentence's
        written, start = written[1:], start + 1
    date = _DATE.match(written)
    if date:
        written, start = written[date.end() :], start + date.end()
    count = sum(map(str.isdigit, written))
    if count < 7 or (re.match(r"0[0-9]\.", written) and _DECIMALS.fullmatch(written)):
        return
    said = _said(seen, start, start + len(written))
    if count <= 17 and _is_national(seen, written, start, said):
        yield start, start + len(written)
        return
    for part in (_PART if said else _PART_FORMED).finditer(written) if len(written) > 12 else ():
        piece = written[part.start() : part.end()]
        if sum(map(str.isdigit, piece)) >= 7 and _is_national(seen, piece, start + part.start(), said):
            yield start + part.start(), start + part.end()


_PART_FORMED = re.compile(r"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]\d{3}[ .-]\d{4}(?!\d)")
_PART = re.compile(
    rf"{_PART_FORMED.pattern}|(?<![\d.-])\(?0\d{{1,4}}\)?(?:[ /-]\d{{2,8}}){{1,4}}(?!\d)|(?<![\d.-])\d{{7,11}}(?![\d.-])"
)


def _said(seen: Seen, start: int, end: int) -> bool:
    """Whether the words around say that this is a telephone number, and none nearer says otherwise."""
    at = last(_SAID, seen.lower, start, _REACH)
    if at < 0 and not seen.lower.isascii():
        at = last(_SAID_UNSPACED, seen.lower, start, _REACH)
    if at >= 0:
        between = seen.text[at:start]
        return not re.search(r"[.!?]\s+[A-Z].*\s|\n\n", between) and not labelled_otherwise(seen.lower, start)
    return bool(_SAID_AFTER.match(seen.lower, end))


_LEADING = re.compile(
    r"(?:[\s:.#(=-]|\b(?:me|us|him|her|them|number|no|nr|num|is|at|on|unter|au|al|my|it|to|this|"
    r"please|am|op|på|das|ist|est|es|è)\b)*"
)


def _asked(seen: Seen, start: int) -> bool:
    """Whether a word for telephones leads straight to the number: seven or eight digits alone may be anything."""
    at = last(_SAID, seen.lower, start, _REACH)
    return at < 0 or bool(_LEADING.fullmatch(seen.lower, at, start))


def _is_national(seen: Seen, number: str, start: int, said: bool) -> bool:
    end = start + len(number)
    if not _ends_well(seen, end) or number.count("(") != number.count(")"):
        return False
    digits = digits_of(number)
    if (
        _DATE.match(number)
        or _YEARS.fullmatch(number)
        or _DOTTED_QUAD.fullmatch(number)
        or (_DECIMALS.fullmatch(number) and not (said and _HALVES.fullmatch(number)))
    ):
        return False
    groups = re.findall(r"\d+", number)
    if sum(len(group) == 1 for group in groups) >= 3 or len(set(digits)) < 3 - said:
        return False
    if said:
        if number.isdigit() and len(number) < 9 and not _asked(seen, start):
            return False
        counted = len(digits) < 9 and (_THOUSANDS.fullmatch(number) or number.endswith("000"))
        return (
            len(digits) <= 15
            and not counted
            and not (len(groups) > 1 and all(group.endswith("000") for group in groups))
        )
    if len(digits) == 10 and re.match(r" ?(?:x|ext)", seen.lower[end : end + 4]):
        return True
    if not 8 <= len(digits) <= 12 + (digits[0] == "0") or labelled_otherwise(seen.lower, start):
        return False
    if number.isdigit() and seen.text[start - 1 : start] == ",":  # a column: an ISBN, an account, a part
        return False
    return _has_form(number, digits, groups)


def _has_form(number: str, digits: str, groups: list[str]) -> bool:
    """Without a word that says so: is it written as only telephone numbers are?"""
    if _NANP.fullmatch(number) or _NANP_SOME.fullmatch(number) or _RUSSIAN.fullmatch(number):
        return True
    if _AREA.fullmatch(number):
        return True
    if number.isdigit():
        return any(form.fullmatch(number) and _in_plan(number, region) for region, form in _PLAIN_TRUNK)
    if digits[0] == "0" and _TRUNK.fullmatch(number) and 9 <= len(digits) <= 13 and digits[1] != "0":
        return not (_ISBN.fullmatch(number) and _is_isbn(digits)) and not _other_form(number, groups)
    return any(form.fullmatch(number) and _in_plan(number, region) for form, region in _SHAPED)


def _other_form(number: str, groups: list[str]) -> bool:
    """Groups with a leading 0 that are something else: a ZIP+4, a day and a serial number, a drawing, a bank account."""
    lengths = [len(group) for group in groups]
    pairs = len(groups) >= 4 and set(lengths) == {2} and groups == sorted(groups)
    return pairs or (
        lengths in ([5, 4], [6, 4], [6, 5], [4, 4, 2], [5, 3, 2], [5, 4, 2], [3, 7, 2], [4, 4])
        and "-" in number
    )


def _is_isbn(digits: str) -> bool:
    from stdnum import isbn

    return isbn.is_valid(digits)


def _in_plan(number: str, region: str) -> bool:
    """Whether the country's numbering plan has such a number."""
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
