"""How a passage is asked about: wordings for titles, the sentence that answers, closed questions.

Demonstrations and the prompt log share these, on disjoint titles and questions.
"""

from __future__ import annotations

import re

from rlhf.data.embedded.corpus import Passage
from rlhf.data.embedded.text import content_stems, is_complete, overlap, pick, unit, words

_PRONOUN = re.compile(
    r"(?:He|She|It|They|This|These|Those|His|Her|Their|Its|However|But|And|Also|Thus|Hence|Therefore)\b"
)
_PERSON = re.compile(r"\((?:[^()]*\b)?(?:born|née|died)\b|\([^()]*\b1[6-9]\d\d - |\([^()]*\b1[6-9]\d\d [–-] ")


def askable(title: str) -> bool:
    """Whether "Tell me about TITLE." sounds like something a person types."""
    return 1 <= len(words(title)) <= 8 and not re.match(
        r"(?:the )?(?:list|index|outline|comparison) of", title, re.I
    )


def naming_sentences(passage: Passage) -> list[str]:
    """Sentences of 6 to 40 words that hold every content word of the title, the first one first."""
    wanted = content_stems(passage.title)
    return [s for s in passage.sentences if wanted and is_complete(s) and wanted <= content_stems(s)]


def defining_verb(passage: Passage) -> str | None:
    """is, was, are or were, where the first sentence defines the title ("X is a ..."); else None."""
    if not passage.sentences:
        return None
    bare = re.escape(passage.title.removeprefix("the "))
    found = re.match(
        rf"(?:The |An? )?{bare}\b[^.]{{0,90}}? (is|was|are|were) (?:a|an|the|one)\b",
        passage.sentences[0],
        re.I,
    )
    return found[1].lower() if found else None


def is_person(passage: Passage) -> bool:
    names = passage.title.split()
    capital = all(name[:1].isupper() for name in names)
    return 2 <= len(names) <= 4 and capital and bool(_PERSON.search(passage.sentences[0][:140]))


def question_about(passage: Passage) -> str | None:
    """ "Who was X?" or "What is X?", where the passage's first sentence shows that it fits."""
    verb = defining_verb(passage)
    if verb is None:
        return None
    return f"{'Who' if is_person(passage) else 'What'} {verb} {passage.title}?"


def request_about(passage: Passage, *key: object) -> str:
    """ "Tell me about X." four times in five, or another wording of it."""
    if unit("wording", *key) < 0.8:
        return f"Tell me about {passage.title}."
    return pick(("Describe {}.", "Explain {}.", "Please tell me about {}."), "w", *key).format(passage.title)


def answering_sentence(question: str, passage: Passage, least: float) -> str | None:
    """The sentence with the largest share of the question's content words, if that is `least` or more."""
    best, best_score = None, least
    for sentence in passage.sentences:
        if not is_complete(sentence):
            continue
        score = overlap(question, sentence) - (0.08 if _PRONOUN.match(sentence) else 0.0)
        if score >= best_score and (best is None or score > best_score):
            best, best_score = sentence, score
    return best


def closed_question(
    question: str, sentences: tuple[str, ...] | list[str], answer: str, max_words: int
) -> str | None:
    """The answer's sentence with its neighbours, at most max_words, and the question; None if too long."""
    at = list(sentences).index(answer)
    part = [answer]
    length = len(answer.split())
    for neighbour, in_front in ((at - 1, True), (at + 1, False), (at - 2, True), (at + 2, False)):
        if not 0 <= neighbour < len(sentences) or len(part) == 4:
            continue
        extra = len(sentences[neighbour].split())
        if length + extra > max_words or (abs(neighbour - at) == 2 and len(part) < 2):
            continue
        part.insert(0, sentences[neighbour]) if in_front else part.append(sentences[neighbour])
        length += extra
    if len(part) < 2:
        return None
    return f"{' '.join(part)}\n\nQuestion: {question}"
