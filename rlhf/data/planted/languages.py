"""Prompts of known language for the self-check: sentences of some fifty languages, and English of all sorts.

little_words.txt was mended by some of these sentences: of a language's sentences seen for the first time,
a few more in the rarer languages stay.
"""

from __future__ import annotations

import random
from pathlib import Path

_ASKS = (
    "What is {}?",
    "what is {}",
    "Tell me about {}.",
    "How does {} work?",
    "Explain {} to a child",
    "Write a poem about {}.",
    "is {} worth it",
    "Who invented {}?",
    "Give me 5 ideas for {}",
    "Summarize the history of {} in one sentence.",
    "why do people like {} so much",
    "{} pros and cons",
    "best books about {}",
    "HOW DO I LEARN MORE ABOUT {}?",
    "Rewrite this so that it sounds friendlier: send me {} now.",
    'What does "{}" mean?',
    "Translate to French: I like {}.",
)
_TOPICS = (
    "the Mona Lisa", "el Niño", "La Traviata", "déjà vu", "Das Boot", "Rio de Janeiro", "Los Angeles", "sushi",
    "Kubernetes", "the Danube", "ice hockey", "Genghis Khan", "crème brûlée", "the Sagrada Família",
    "a mid-life crisis", "Kafka", "quantum computers", "photosynthesis", "my garden", "the moon", "income tax",
    "cats", "old cars", "baking bread", "the economy", "running a marathon", "gravity", "the Roman army",
    "black holes", "email marketing", "vitamin D", "rain", "chess", "jazz", "tai chi", "schadenfreude",
    "SQL joins", "feng shui", "the Taj Mahal", "tortillas", "Wagner's Ring",
)  # fmt: skip
_PLAIN = (
    "def add(a, b): return a + b",
    "SELECT id, total FROM orders WHERE total > 10 ORDER BY id;",
    "git push origin main --force",
    "Translate into English: Der Zug nach Köln hat heute leider Verspätung.",
    "Translate this sentence: Je ne sais pas où j'ai mis mes clés.",
    "Is this correct Spanish? Ayer fui al mercado con mi hermana.",
    "¿Dónde está la biblioteca?\nWhat does this mean in English?",
    "lol idk what 2 do 2day pls help",
    "hey can u chekc my grammer its realy bad",
    "2 eggs, 1 cup flour, 1 tsp salt: what can I bake?",
    "Leonardo DiCaprio",
    "ok thanks",
)


def foreign_sentences() -> list[tuple[str, str]]:
    """(ISO 639-1 code, sentence of 4 words or more, or of a script without spaces)."""
    text = Path(__file__).with_name("languages.txt").read_text(encoding="utf-8")
    sections = [part.split("]", 1) for part in text.split("\n[")[1:]]
    found = [(code, line) for code, lines in sections for line in lines.strip().splitlines()]
    return [(code, line) for code, line in found if len(line.split()) >= 4 or max(line) > "\u0370"]


def english_prompts(seed: int, count: int) -> list[str]:
    """Questions, orders, names, code and slang, some in capitals or with a letter lost."""
    rng = random.Random(f"english {seed}")
    made = []
    for _ in range(count):
        text = rng.choice(_PLAIN) if rng.random() < 0.15 else rng.choice(_ASKS).format(rng.choice(_TOPICS))
        spoil = rng.random()
        if spoil < 0.1:
            text = text.lower()
        elif spoil < 0.15:
            text = text.upper()
        elif spoil < 0.25 and len(text) > 20:
            at = int(rng.random() * len(text))
            text = text[:at] + text[at + 1 :]
        made.append(text)
    return made
