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
    "List volcanoes.",
    "Describe Leonardo da Vinci",
    "Was Ludwig van Beethoven deaf",
    "Describe Tour de France",
    "Define pas de deux",
    "Was Mozart left-handed?",
    "Do octopuses dream?",
    "x = 3",
    "HOW DO I BOIL AN EGG?",
)
FOREIGN = {
    "Erzähle mir bitte etwas über den Schwarzwald.": "de",
    "Wie koche ich ein Ei?": "de",
    "Was kostet ein Hund im Monat": "de",
    "Define la fotosíntesis con tus palabras": "es",
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


def planted() -> list[tuple[str, str]]:
    """(language, sentence) of the self-check's sentences."""
    from rlhf.data.planted import languages as planted_languages

    return planted_languages.foreign_sentences()


def test_sentences_of_four_words_in_forty_languages_are_foreign():
    told = [(code, text) for code, text in planted() if foreign(text, ("en",)) is None]
    assert len(told) <= 0.02 * len(planted()), told
    assert len({code for code, _ in planted()}) > 40


@pytest.mark.parametrize(
    "text",
    [
        "Translate into English: Ich habe gestern meinen Schlüssel verloren und finde ihn nicht.",
        "Summarize this: Привет, как дела? Сегодня я иду в школу и потом домой.",
        "Correct my Spanish: Yo soy muy feliz de estar aquí con ustedes",
        "Der Hund läuft durch den Wald.\nWhat does this sentence mean?",
        "for i in range(10): print(i, end='')",
        "SELECT name, price FROM items WHERE id = 3",
        "wut r u doin 2nite lol",
        "pls fix teh eror in my codde",
        "Los Angeles Lakers roster",
        "EL SALVADOR",
        "que sera sera",
        "",
        "1 + 1 = ?",
        "https://fernmail.org/de/und/der",
    ],
)
def test_english_requests_names_and_code_stay(text):
    assert foreign(text, ("en",)) is None


def test_hindi_and_russian_in_latin_letters_are_told():
    assert foreign("Mujhe ek kaali billi ki kahani sunao", ("en",)) == "hi"
    assert foreign("Rasskazhi mne pozhaluysta chto eto takoe i kak", ("en",)) == "ru"


def test_english_is_foreign_where_it_is_not_wanted():
    for text in ("Tell me about the river near the old castle.", "What is rain?", "how do i boil an egg"):
        assert foreign(text, ("de",)) == "en"
    assert foreign("Wie koche ich ein Ei?", ("de",)) is None
    assert foreign("Wie koche ich ein Ei?", ("de", "en")) is None
