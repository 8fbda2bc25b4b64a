import pytest

from rlhf.data.language import foreign

ENGLISH = (
    "Tell me about Das Boot.",
    "Is la vie en rose a love song?",
    "Describe tomato purée.",
    "Is rio de janeiro the capital of brazil?",
    "Can you play ds games on a ds lite?",
    "who sings it's all about the bass lyrics",
    "What is res ipsa loquitur?",
    "leo tolstoy",
    "x = 3",
    "HOW DO I BOIL AN EGG?",
)
FOREIGN = {
    "Erzähle mir bitte etwas über den Schwarzwald.": "de",
    "Wie koche ich ein Ei?": "de",
    "Parle-moi de la cuisine provençale, s'il te plaît.": "fr",
    "Quel est le plus grand pays du monde ?": "fr",
    "¿Por qué a tanta gente le interesa el fútbol?": "es",
    "Quali errori fanno i principianti con la pasta?": "it",
    "Qual é a capital do Brasil e por que?": "pt",
    "Какая столица России?": "ru",
    "日本の首都はどこですか": "ja",
    "你能告诉我北京的历史吗": "zh",
}


@pytest.mark.parametrize("text", ENGLISH)
def test_english_about_foreign_names_stays(text):
    assert foreign(text, ("en",)) is None


@pytest.mark.parametrize(("text", "language"), FOREIGN.items())
def test_other_languages_are_named_and_may_be_allowed(text, language):
    assert foreign(text, ("en",)) == language
    assert foreign(text, ("en", language)) is None
