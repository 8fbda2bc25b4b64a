"""Personal data in text: `find` gives kinds and spans, `redact` puts "[EMAIL]" and the like in their place.

Compiled patterns find candidates, validators and the words around them decide, a file a subject. Both
functions are stateless, and nothing of what they see is logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlhf.data.pii.accounts import accounts
from rlhf.data.pii.addresses import addresses
from rlhf.data.pii.emails import emails, maybe_spelled
from rlhf.data.pii.ids import ids
from rlhf.data.pii.ips import ips
from rlhf.data.pii.keys import keys, private_keys
from rlhf.data.pii.passports import machine_readable, passports
from rlhf.data.pii.phones import phones
from rlhf.data.pii.text import Seen, Span, apart, look, together

__all__ = ["KINDS", "Span", "find", "redact"]

KINDS = ("email", "phone", "card", "iban", "ssn", "national_id", "passport", "ip", "api_key", "address")

_DOTTED = re.compile(r"\d\.\d{1,3}\.\d")
_PAN_LIKE = re.compile(r"[A-Z]{5}\d{4}[A-Z]\b")  # India's, which has the fewest digits of all numbers here
_SIX_DIGITS = re.compile(r"\d(?:[^\d\n]{0,3}\d){5}")


def find(text: str) -> list[Span]:
    """Spans of personal data, in order, not overlapping (the surer kind, then the longer one wins)."""
    return apart(_all(look(text)))


def redact(text: str) -> str:
    """The text with each span replaced by its kind in capitals and brackets.

    What another kind saw beside it, and overlapping it, goes with it.
    """
    every = list(_all(look(text)))
    kinds = {span.start: span.kind for span in apart(every)}
    parts, at = [], 0
    for start, end in together(span for _, span in every):
        said = "".join(f"[{kinds[place].upper()}]" for place in sorted(kinds) if start <= place < end)
        parts += [text[at:start], said]
        at = end
    return "".join(parts) + text[at:]


def _all(seen: Seen) -> Iterator[tuple[int, Span]]:
    """Rank and span of what each subject finds; whole subjects are passed over where nothing hints at them."""
    text = seen.text
    if "PRIVATE KEY" in text:
        yield from ((0, span) for span in private_keys(seen))
    yield from ((1, span) for span in keys(seen))
    if "@" in text or " at " in text or maybe_spelled(seen.lower):
        yield from ((1, span) for span in emails(seen))
    if "<<" in text:
        yield from ((3, span) for span in machine_readable(seen))
    if not seen.runs:
        return
    digits = sum([end - start for start, end in seen.runs])
    numbers = digits >= 6 and _SIX_DIGITS.search(text)
    if numbers:
        yield from ((2, span) for span in accounts(seen))
        yield from ((6, span) for span in phones(seen))
    if numbers or (digits >= 4 and _PAN_LIKE.search(text)):
        yield from ((4, span) for span in ids(seen))
    if "pas" in seen.lower or not text.isascii():  # in each ASCII word for one
        yield from ((3, span) for span in passports(seen))
    if (len(seen.runs) > 2 and _DOTTED.search(text)) or text.count(":") > 1:
        yield from ((5, span) for span in ips(seen))
    yield from ((5, span) for span in addresses(seen))
