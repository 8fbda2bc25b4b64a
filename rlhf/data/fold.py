"""Text folded for comparing (NFKC, case, white space), and keyed hashes that never change."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any


def fold(text: str) -> str:
    """NFKC, case-folded, without what nobody sees, runs of white space as one space, none at the ends."""
    if text.isascii():
        return " ".join(text.lower().split())
    seen = _UNSEEN.sub("", text)
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold()).split())


# Soft hyphen; blank, joiner and byte order mark of no width
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")


def fold_messages(messages: Sequence[dict[str, Any]]) -> str:
    """A conversation folded into one text; the roles keep two conversations apart."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return fold(messages[0]["content"])
    return "\n".join(f"{message['role']}: {fold(message['content'])}" for message in messages)


def fingerprint(text: str) -> str:
    """16 hexadecimal digits of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def unit(seed: int, purpose: str, text: str) -> float:
    """A number in [0, 1) that seed, purpose and text decide, on every machine alike."""
    key = f"{purpose}:{seed}".encode()[:64]
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
