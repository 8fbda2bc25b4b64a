"""Presidio 2.2.366 without NER, in its own environment: for each line on standard input, a JSON list of texts, a JSON line.

    python -m benchmarks.peers.presidio_pii

Writes {seconds: CPU seconds, spans: for each text [[kind, start, end], ...]} with the kinds of rlhf.data.pii. All its
predefined recognizers for English run but the one that asks spaCy for names; a blank spaCy pipeline cuts the words
that its context words are looked for in. Scores under 0.35 (a run of digits that could be anything) do not count.
"""

from __future__ import annotations

import json
import sys
import time

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from spacy.language import Language
from spacy.tokens import Doc

SCORE = 0.35
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
    "US_ITIN": "national_id",
    "UK_NHS": "national_id",
    "US_DRIVER_LICENSE": "national_id",
    "US_PASSPORT": "passport",
    "IP_ADDRESS": "ip",
    "LOCATION": "address",
}


@Language.component("lower_case_lemmas")
def lower_case_lemmas(doc: Doc) -> Doc:
    for token in doc:
        token.lemma_ = token.lower_
    return doc


class Blank(SpacyNlpEngine):
    """Words and nothing else."""

    def load(self) -> None:
        self.nlp = {"en": spacy.blank("en")}
        self.nlp["en"].add_pipe("lower_case_lemmas")


def main() -> None:
    tldextract.extract = tldextract.TLDExtract(
        suffix_list_urls=()
    )  # the list it carries, no look at the network
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    engine = Blank()
    engine.load()
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.process_time()
        found = [analyzer.analyze(text=text, language="en", score_threshold=SCORE) for text in texts]
        seconds = time.process_time() - start
        spans = [
            [[KINDS[hit.entity_type], hit.start, hit.end] for hit in hits if hit.entity_type in KINDS]
            for hits in found
        ]
        print(json.dumps({"seconds": seconds, "spans": spans}), file=out, flush=True)


if __name__ == "__main__":
    out, sys.stdout = sys.stdout, sys.stderr
    main()
