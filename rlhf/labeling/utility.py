"""What a simulated labeler likes: eight features of an answer, each in [0, 1], and their weighted sum.

u = 3 relevance + 1 information + 2 fluency + 1 no-repetition + 1.5 completeness - 2 profanity - 1 copying,
and for a closed question (a passage in the prompt) + 2 groundedness. The reward model never sees these rules.

relevance       share of the question's content-word stems found in the answer, reaching 1 at 60 %
information     content words of the answer, attested in the pretraining text, that the prompt lacks: /6
fluency         share of the answer's word bigrams attested in the pretraining text: (share - .4) / .6
no_repetition   1 - 2 x share of repeated bigrams, less 1 more where distinct words are under half
completeness    .4 if it ended by EOS, .3 if it ends in . ! or ?, .3 if it has 6 to 40 words
profanity       alt-profanity-check's probability
copying         1 where 6 words in a row (13 for "Tell me about ...") stand in the prompt
groundedness    share of the answer's content words that stand in the passage; 0 where there is none
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf.chat import Message
from rlhf.labeling.request import Request, read_request
from rlhf.labeling.words import content_stem, content_stems, words

FEATURES = (
    "relevance",
    "information",
    "fluency",
    "no_repetition",
    "completeness",
    "profanity",
    "copying",
    "groundedness",
)
WEIGHTS: NDArray[np.float64] = np.array([3.0, 1.0, 2.0, 1.0, 1.5, -2.0, -1.0, 2.0])

Array = NDArray[np.float64]
Answer = tuple[Sequence[Message], str, bool]  # (prompt, text, ended by EOS)


@dataclass(frozen=True)
class Utility:
    """The noise-free utility, over the words and word bigrams that some pretraining text attests.

    vocabulary: word -> number, from 0; bigrams: sorted [B] int64, first·V + second for V words.
    """

    vocabulary: dict[str, int]
    bigrams: NDArray[np.int64]

    @classmethod
    def fit(cls, texts: Iterable[str]) -> Utility:
        """Learn which words and word bigrams the texts attest (once is enough; none spans two texts)."""
        vocabulary: dict[str, int] = {}
        numbered: list[NDArray[np.int64]] = []
        for text in texts:
            ids = [vocabulary.setdefault(word, len(vocabulary)) for word in words(text)]
            numbered.append(np.array(ids, dtype=np.int64))
        pairs = [ids[:-1] * len(vocabulary) + ids[1:] for ids in numbered if len(ids) > 1]
        return cls(vocabulary, np.unique(np.concatenate(pairs)) if pairs else np.empty(0, dtype=np.int64))

    def features(self, messages: Sequence[Message], text: str, ended: bool) -> dict[str, float]:
        """The eight features of one answer, by name."""
        return dict(zip(FEATURES, self.features_many([(messages, text, ended)])[0].tolist(), strict=True))

    def score(self, messages: Sequence[Message], text: str, ended: bool) -> float:
        """The noise-free utility u of one answer."""
        return float(self.score_many([(messages, text, ended)])[0])

    def score_many(self, answers: Sequence[Answer]) -> Array:
        """[N] utilities u of N answers."""
        return self.features_many(answers) @ WEIGHTS

    def features_many(self, answers: Sequence[Answer]) -> Array:
        """[N, 8] features of N (prompt, text, ended), columns as FEATURES names them."""
        table = np.zeros((len(answers), len(FEATURES)))
        prompts: dict[tuple[str, ...], _Prompt] = {}
        listed = [words(text) for _, text, _ in answers]
        for at, ((messages, text, ended), spoken) in enumerate(zip(answers, listed, strict=True)):
            key = tuple(message["content"] for message in messages)
            if key not in prompts:
                prompts[key] = _Prompt(read_request(messages))
            prompt, said = prompts[key], content_stems(spoken)
            table[at, 0] = prompt.relevance(said)
            table[at, 1] = min(1.0, len(self._attested_stems(spoken) - prompt.stems) / 6)
            table[at, 3] = _no_repetition(spoken)
            table[at, 4] = _completeness(text, ended, len(spoken))
            table[at, 6] = prompt.is_copied_by(spoken)
            table[at, 7] = prompt.groundedness(said)
        table[:, 2] = np.clip((self._attested_shares(listed) - 0.4) / 0.6, 0.0, 1.0)
        table[:, 5] = profanity([text for _, text, _ in answers])
        return table

    def _attested_stems(self, spoken: list[str]) -> set[str]:
        known = self.vocabulary
        return {found for word in spoken if word in known and (found := content_stem(word)) is not None}

    def _attested_shares(self, listed: list[list[str]]) -> Array:
        """[N] share of each answer's word bigrams that the pretraining text attests; 0 where it has none."""
        size, get = len(self.vocabulary), self.vocabulary.get
        pairs, owners = [], []
        counts = np.array([max(0, len(spoken) - 1) for spoken in listed], dtype=np.int64)
        for at, spoken in enumerate(listed):
            ids = [get(word, -1) for word in spoken]
            pairs += [a * size + b if a >= 0 <= b else -1 for a, b in pairwise(ids)]
            owners += [at] * counts[at]
        if not pairs or not len(self.bigrams):
            return np.zeros(len(listed))
        wanted = np.array(pairs, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.bigrams, wanted), len(self.bigrams) - 1)
        hits = np.bincount(np.array(owners), weights=self.bigrams[places] == wanted, minlength=len(listed))
        return hits / np.maximum(counts, 1)


class _Prompt:
    """What is computed once for all answers to a prompt."""

    def __init__(self, request: Request) -> None:
        listed = words(request.text)
        self.asked = request.asked
        self.stems = content_stems(listed)
        self.passage = None if request.passage is None else content_stems(words(request.passage))
        self.run = 13 if request.tells_about else 6
        self.runs = _runs(listed, self.run)

    def relevance(self, said: set[str]) -> float:
        if not self.asked:  # nothing to take up: any answer that says something does
            return float(bool(said))
        return min(1.0, len(self.asked & said) / len(self.asked) / 0.6)

    def is_copied_by(self, spoken: list[str]) -> float:
        return float(not self.runs.isdisjoint(_runs(spoken, self.run)))

    def groundedness(self, said: set[str]) -> float:
        return len(said & self.passage) / len(said) if self.passage and said else 0.0


def _runs(listed: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(listed[at : at + length]) for at in range(len(listed) - length + 1)}


def _no_repetition(spoken: list[str]) -> float:
    if len(spoken) < 2:
        return 1.0
    bigrams = len(spoken) - 1
    repeated = 1 - len(set(pairwise(spoken))) / bigrams
    return max(0.0, 1 - 2 * repeated - (1.0 if len(set(spoken)) < len(spoken) / 2 else 0.0))


def _completeness(text: str, ended: bool, length: int) -> float:
    return 0.4 * ended + 0.3 * text.rstrip().endswith((".", "!", "?")) + 0.3 * (6 <= length <= 40)


def profanity(texts: Sequence[str]) -> Array:
    """[N] probabilities in [0, 1] that a text is offensive, by alt-profanity-check."""
    return np.asarray(_classifier()(texts), dtype=np.float64) if len(texts) else np.zeros(0)


@cache
def _classifier() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on the version that wrote the classifier
        from profanity_check import predict_prob
    return predict_prob
