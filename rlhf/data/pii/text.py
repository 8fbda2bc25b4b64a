"""What the finders of personal data read: a text folded character by character, and the words in it.

Full-width and other digits become ASCII ones, Unicode dashes, blanks and quotes their plain kin, and invisible
characters go (a number copied from a telephone is wrapped in them); `Seen.span` gives the offsets of the text itself.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of personal data: text[start:end] is of this kind."""

    kind: str
    start: int
    end: int


@dataclass(slots=True)
class Seen:
    """text: folded; lower: its lower case, of the same length; gone: before which characters one was left out.

    runs: where the runs of digits begin and end.
    """

    text: str
    lower: str
    gone: list[int]
    runs: list[tuple[int, int]]
    _words: frozenset[str] | None = None

    @property
    def words(self) -> frozenset[str]:
        """The lower-case words of letters. Kept by hand: functools.cached_property takes a lock, a third of the time."""
        if self._words is None:
            if self.lower.isascii():
                self._words = frozenset(self.lower.encode().translate(_LETTERS).decode().split())
            else:
                self._words = frozenset(_WORD.findall(self.lower))
        return self._words

    def span(self, kind: str, start: int, end: int) -> Span:
        """The span of text[start:end], counted in the text as it was given."""
        if not self.gone:
            return Span(kind, start, end)
        return Span(kind, start + bisect_right(self.gone, start), end + bisect_right(self.gone, end - 1))


_BLOCKS = (  # where Unicode has digits, dashes, blanks, quotes and invisible characters
    (0x80, 0x3100), (0xA620, 0xAC00), (0xFE00, 0x10000), (0x10400, 0x12000), (0x1D7CE, 0x1D800), (0x1E100, 0x1EA00),
    (0x1FBF0, 0x1FBFA), (0xE0000, 0xE0080),
)  # fmt: skip


@cache
def _folds() -> tuple[dict[int, str], re.Pattern[str]]:
    """What a character is read as, and the characters that are not read at all."""
    table, unseen = {ord("İ"): "I", ord("。"): ".", 0x2028: "\n", 0x2029: "\n", 0x2212: "-"}, []
    for code in (code for first, end in _BLOCKS for code in range(first, end)):
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            table[code] = str(unicodedata.decimal(char))
        elif category == "Zs":
            table[code] = " "
        elif category == "Pd":
            table[code] = "-"
        elif category == "Cf":
            unseen.append(char)
        elif category in ("Pi", "Pf") or char in "‚„′″":
            table[code] = '"' if char in "“”„‟«»″" else "'"
        elif 0xFF01 <= code <= 0xFF5E or 0xFE50 <= code <= 0xFE6B:
            table[code] = unicodedata.normalize("NFKC", char)
    return table, re.compile(f"[{re.escape(''.join(unseen))}]")


_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = bytes(at if chr(at).isalpha() else ord(" ") for at in range(256))  # for ASCII
_NOT_DIGITS = bytes(at for at in range(256) if not chr(at).isdigit())  # for ASCII
_RUN = re.compile(r"\d+")
_NO_DIGIT = re.compile(r"\D+")


def look(text: str) -> Seen:
    gone: list[int] = []
    if not text.isascii():
        table, unseen = _folds()
        gone = [match.start() - before for before, match in enumerate(unseen.finditer(text))]
        text = (unseen.sub("", text) if gone else text).translate(table)
    may_have_digits = not text.isascii() or text.encode().translate(None, _NOT_DIGITS)
    runs = [match.span() for match in _RUN.finditer(text)] if may_have_digits else []
    return Seen(text, text.lower(), gone, runs)


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


def holds(text: str, hints: Iterable[str]) -> bool:
    """Whether one of the hints is in the text: quicker than a pattern of them all."""
    for hint in hints:  # noqa: SIM110, a generator would take twice as long
        if hint in text:
            return True
    return False


def digits_of(written: str) -> str:
    return _NO_DIGIT.sub("", written)


def names(words: str) -> re.Pattern[str]:
    """A pattern for any of the words, which blanks part; "_" in a word stands for blanks or a hyphen."""
    spelled = (
        re.escape(word).replace("_", r"[\s-]{1,3}") for word in sorted(words.split(), key=len, reverse=True)
    )
    return re.compile(rf"(?<![^\W\d_])(?:{'|'.join(spelled)})(?![^\W\d_])")


def last(pattern: re.Pattern[str], lower: str, start: int, reach: int) -> int:
    """Where the last match that ends before `start` ends, at most `reach` characters before it; else -1."""
    found = -1
    for match in pattern.finditer(lower, max(0, start - reach), start):
        found = match.end()
    return found


def apart(spans: Iterable[tuple[int, Span]]) -> list[Span]:
    """Spans in order, none overlapping: of two that do, the one of lower rank stays, then the longer one."""
    kept: list[tuple[int, Span]] = []
    for rank, span in sorted(spans, key=lambda item: (item[1].start, -item[1].end)):
        if kept and span.start < kept[-1][1].end:
            held_rank, held = kept[-1]
            if (rank, span.start - span.end) >= (held_rank, held.start - held.end):
                continue
            kept.pop()
        kept.append((rank, span))
    return [span for _, span in kept]


def together(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """(start, end) of what overlapping spans cover, in order."""
    covered: list[tuple[int, int]] = []
    for start, end in sorted((span.start, span.end) for span in spans):
        if covered and start < covered[-1][1]:
            covered[-1] = (covered[-1][0], max(end, covered[-1][1]))
        else:
            covered.append((start, end))
    return covered


_LABELS = (
    "isbn issn doi order invoice ticket tracking case version ver ref reference part sku model serial account acct item "
    "product article barcode ean upc gtin asin patent receipt confirmation booking reservation transaction parcel shipment "
    "lot batch ordinance resolution decree regulation policy claim member membership policy patient mrn imei "
    "meid vin epoch timestamp build commit job issue bug "
    "error route flight train bus catalog catalogue code pin plate permit registration reg docket file record row "
    "bestellnummer bestellung rechnungsnummer rechnung auftrag auftragsnummer sendungsnummer artikelnummer kundennummer "
    "nhs sin tfn bsn nif dni pesel cpf ssn tin ein vat abn acn npi iban bic swift routing utr aadhaar "
    "commande facture colis pedido factura envío ordine fattura spedizione bestelling factuur order-id po pmid arxiv ndc cas"
)
_LABELLED = re.compile(
    rf"(?<![^\W\d_])(?:{'|'.join(map(re.escape, _LABELS.split()))})(?:[\s_-]?(?:number|num|no|nr|nummer|id|code|ref|is))?"
    r"\.?\s{0,2}(?:is|was|=|of)?\s{0,2}[:#=№-]?\s{0,2}[#(\"']?$"
)


def labelled_otherwise(lower: str, start: int) -> bool:
    """Whether what starts here is called an order number, an ISBN, or another thing that is nobody's."""
    return bool(_LABELLED.search(lower, max(0, start - 40), start))
