"""Personal data in text: compiled patterns find candidates, validators decide.

`find` gives spans and kinds, `redact` puts "[EMAIL]" and the like in their place. Nothing here logs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonenumbers
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn


@dataclass(frozen=True)
class Span:
    """A piece of personal data: text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Rule:
    """Candidates are matches of `pattern`; they count if `valid`, and if `near` stands just before them."""

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[re.Match[str]], bool] = lambda match: True
    near: re.Pattern[str] | None = None


_MAYBE = re.compile(r"@|\d|[\[({<]\s*at\s*[\])}>]|\bat\b.{1,60}\bdot\b|-----BEGIN", re.I | re.S)
_NEAR = 48  # characters before a candidate in which its context word may stand
_PHONE_WORDS = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|cell|fax|ring|reach|text|sms|whatsapp|contact|dial|number is|handy|"
    r"telefon|téléphone|teléfono|móvil|telefono|cellulare)\b", re.I
)  # fmt: skip
_NOT_PHONE = re.compile(
    r"\b(?:isbn|issn|doi|order|invoice|ticket|tracking|case|version|ref|reference|part|sku|model)\b", re.I
)
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU", "NL", "CA")
_VERSION = re.compile(
    r"(?:\b(?:version|release|build|firmware|v|ver|section|chapter|kernel|ec|rfc|oid|no)\.?\s*|\bv)$", re.I
)


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
    if re.fullmatch(
        r"\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ]\d{4}|\d{4}\s?[-/]\s?\d{4}", number
    ):
        return False  # dates and spans of years
    if number.startswith(("+", "00")):
        plus = "+" + number[2:] if number.startswith("00") else number
        return _valid_number(plus, None)
    asked = _PHONE_WORDS.search(before)
    if _NOT_PHONE.search(before[-24:]) and not asked:
        return False
    if re.fullmatch(r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}", number):
        return _valid_number(number, "US")
    return bool(asked) and any(_valid_number(number, region) for region in _REGIONS)


def _valid_number(number: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def _is_email(match: re.Match[str]) -> bool:
    domain = match[0].rpartition("@")[2].lower()
    reserved = domain.rpartition(".")[2] in ("example", "test", "invalid", "localhost")
    return not reserved and not re.fullmatch(r"(?:.*\.)?example\.(?:com|org|net)", domain)


def _is_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    issuer = re.match(
        r"4|5[1-5]|2[2-7]\d\d|3[47]|6011|64[4-9]|65|35|3[068]|62|5018|5020|5038|6304|6759", digits
    )
    return bool(issuer) and 13 <= len(digits) <= 19 and len(set(digits)) > 2 and luhn.is_valid(digits)


def _is_ipv4(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv4Address(match[0])
    except ValueError:
        return False
    before = match.string[max(0, match.start() - 16) : match.start()]
    special = (
        address.is_loopback or address.is_unspecified or address.is_multicast or int(address) >> 28 == 15
    )
    return not special and not match[0].startswith("0.") and not _VERSION.search(before)


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return False
    groups = [group for group in match[0].split(":") if group]
    return not (address.is_loopback or address.is_unspecified) and len(groups) >= 3


def _is_secret(match: re.Match[str]) -> bool:
    secret = match[1]
    return bool(re.search(r"\d", secret) and re.search(r"[A-Za-z]", secret)) and not re.fullmatch(
        r"[\d.]+|v?\d+(?:\.\d+)+\w*", secret
    )


def _by(module: object) -> Callable[[re.Match[str]], bool]:
    """The is_valid of a stdnum module, on a match."""
    check: Callable[[str], bool] = module.is_valid  # type: ignore[attr-defined]
    return lambda match: check(match[0])


_PHONE = re.compile(r"(?<![\w.@#$€£/:-])(?:\+|00)?\(?\d(?:[\d().\-/]| (?! )){5,19}\d(?![\w@]|[.-]\d)")
_STREET = (
    r"Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Terrace|Ter|Square|Sq|Crescent|Close|"
    r"Highway|Hwy|Parkway|Pkwy|Circle|Cir|Trail|Trl|Gardens|Grove|Mews|Place|Pl|Way"
)
_TOWN = r"(?:,?\s+(?:Apt|Apartment|Suite|Unit|Flat|#)\.?\s*\w+)?(?:,\s*[A-Z][\w .'-]{1,30}?)?(?:,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?|,?\s+[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})?"
RULES = (
    Rule("email", re.compile(r"(?<![\w.+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}\b"), _is_email),
    Rule(
        "email",
        re.compile(
            r"[\w.+-]+\s*[\[({<]\s*at\s*[\])}>]\s*[\w-]+(?:\s*(?:[\[({<]\s*dot\s*[\])}>]|\.|\sdot\s)\s*[\w-]+)+"
            r"|\b[\w.+-]+ at [\w-]+ dot (?:com|org|net|edu|gov|io|co|info|de|fr|es|it|uk|nl)\b(?: dot uk\b)?",
            re.I,
        ),
        lambda match: not re.search(r"\bexample\b", match[0], re.I),
    ),
    Rule("card", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), _is_card),
    Rule(
        "iban",
        re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b"),
        lambda match: iban.is_valid(match[0]),
    ),
    Rule("ssn", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _by(ssn)),
    Rule(
        "ssn",
        re.compile(r"(?<![\w-])\d{3} ?\d{2} ?\d{4}(?![\w-])"),
        _by(ssn),
        re.compile(r"\bssn|social security", re.I),
    ),
    Rule(
        "national_id",
        re.compile(
            r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b"
        ),
    ),
    Rule("national_id", re.compile(r"\b\d{8}-?[A-Z]\b"), _by(dni)),
    Rule("national_id", re.compile(r"\b[XYZ]-?\d{7}-?[A-Z]\b"), _by(nie)),
    Rule("national_id", re.compile(r"\b[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z]\b"), _by(codicefiscale)),
    Rule(
        "national_id",
        re.compile(r"(?<!\d)[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d(?!\d)"),
        _by(nir),
    ),
    Rule("national_id", re.compile(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d\d(?!\d)"), _by(cpf)),
    Rule(
        "national_id",
        re.compile(r"(?<!\d)\d{4} ?\d{4} ?\d{4}(?!\d)"),
        _by(aadhaar),
        re.compile(r"aadhaar|uid", re.I),
    ),
    Rule(
        "national_id",
        re.compile(r"(?<!\d)\d{3}[ -]\d{3}[ -]\d{3}(?!\d)"),
        _by(sin),
        re.compile(r"\bsin\b|social insurance", re.I),
    ),
    Rule("national_id", re.compile(r"(?<!\d)\d{11}(?!\d)"), _by(pesel), re.compile(r"pesel", re.I)),
    Rule(
        "national_id",
        re.compile(r"(?<!\d)\d\d ?\d{3} ?\d{3} ?\d{3}(?!\d)"),
        _by(idnr),
        re.compile(r"steuer|tax", re.I),
    ),
    Rule(
        "national_id", re.compile(r"(?<!\d)\d{9}(?!\d)"), _by(bsn), re.compile(r"\bbsn\b|burgerservice", re.I)
    ),
    Rule(
        "passport",
        re.compile(r"\b(?:[A-Z]{1,2}\d{6,8}|\d{9}|[A-Z]\d{2}[A-Z]{2}\d{5}|\d{2}[A-Z]{2}\d{5})\b"),
        near=re.compile(r"passport|reisepass|pasaporte|passeport|passaporto", re.I),
    ),
    Rule("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), _is_ipv4),
    Rule(
        "ip",
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4})?(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?![\w:])"),
        _is_ipv6,
    ),
    Rule(
        "api_key",
        re.compile(
            r"\b(?:sk-[\w-]{20,}|[spr]k_(?:live|test)_\w{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{36,}|github_pat_\w{22,}|"
            r"glpat-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,}|npm_\w{36}|SG\.[\w-]{16,}\.[\w-]{16,}|"
            r"ya29\.[\w-]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
        ),
    ),
    Rule(
        "api_key",
        re.compile(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[\s\S]*?-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
        ),
    ),
    Rule(
        "api_key",
        re.compile(
            r"(?i:\b(?:api[ _-]?key|access[ _-]?key|secret|token|password|passwd|bearer)\b(?:\s+is)?\s*[:=]?\s*[\"']?)([\w\-./+=]{16,})"
        ),
        _is_secret,
    ),
    Rule(
        "address",
        re.compile(
            rf"(?<![\w.,-])(?!(?:1[5-9]|20)\d\d,)\d{{1,5}}[A-Za-z]?,? (?:[NSEW]\.? )?(?:[A-Z][\w'’-]*\.? ){{1,4}}(?:{_STREET})\b(?<! St)\.?{_TOWN}|(?<![\w.,-])\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'’-]*\.? ){{1,4}}St\b(?!\.? [A-Z][a-z])\.?{_TOWN}"
        ),
    ),
    Rule(
        "address",
        re.compile(
            r"\b[A-ZÄÖÜ][\wäöüß-]*(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer) \d{1,4}\s?[a-z]?\b(?:, ?\d{5} [A-ZÄÖÜ][\wäöüß-]+)?"
        ),
    ),
    Rule(
        "address",
        re.compile(
            r"\b\d{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai) (?:(?:de|du|des|la|le|les) |l'|d')*[A-ZÉÈ][\w'’-]+(?:[ -][A-ZÉÈ][\w'’-]+)*(?:, ?\d{5} [A-ZÉ][\w-]+)?",
            re.U,
        ),
    ),
    Rule(
        "address",
        re.compile(
            r"\b(?:Calle|Avenida|Plaza|Paseo|Via|Viale|Piazza|Corso) (?:(?:de|del|della|dei|la|las|los|di) )*[A-ZÁÉÍÓÚ][\wáéíóúñ'’-]+(?: [A-ZÁÉÍÓÚ][\wáéíóúñ'’-]+)*,? \d{1,4}\b(?:, ?\d{5} [A-ZÁ][\w-]+)?"
        ),
    ),
    Rule("address", re.compile(r"\bP\.? ?O\.? Box \d{1,6}\b", re.I)),
)
